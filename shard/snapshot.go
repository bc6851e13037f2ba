package shard

import (
	"math"
	"slices"

	"srtrelay/addr"
	"srtrelay/internal/message"
	"srtrelay/shard/limit"
)

// sessionSize is about what an established session with media takes of a snapshot, in
// bytes (BenchmarkSnapshot). The buffer is allocated by it.
const sessionSize = 400

// snapshotSize is about what a snapshot of so many sessions takes.
func snapshotSize(sessions uint64) int { return int(sessions)*sessionSize + 1<<16 }

// snapshotBuffer returns memory for a snapshot, which the kernel has provided: with many
// sessions that takes as long as to write them. Any goroutine may call it.
func (s *Shard) snapshotBuffer() []byte {
	b := make([]byte, snapshotSize(s.counters.public[CountSessions].Load()))
	clear(b)
	return b[:0]
}

// clock is the shard's clock in snapshots.
func (s *Shard) clock() message.Clock { return message.Clock{Origin: s.originAt} }

// appendSnapshot appends all that another process needs to go on as this shard: to
// restore. The shard must have ended a turn, and goes on unchanged if it makes another
// one.
//
// Not in it are what the process has from elsewhere (configuration, registry, sockets),
// what is made anew (hash keys, lists, batches), what starts anew (limits of handshakes,
// suspicions, probes), and captures, which end. A test holds the list.
func (s *Shard) appendSnapshot(b []byte) []byte {
	start := len(b)
	b = slices.Grow(b, snapshotSize(uint64(s.sessions.live)))
	w := snapshotWriter{Shard: s, clock: s.clock(), peers: make(map[*peer]uint32)}
	s.addUpKernel()
	s.readQueueStats()
	b = message.AppendUint(b, snapshotVersion, uint32(SnapshotVersion))
	b = w.head(b)
	b = w.sockets(b)
	b = w.counts(b)
	for _, p := range s.peers.slots {
		if p != nil {
			b = w.peer(b, p)
		}
	}
	s.sessions.each(func(i uint32, ss *session) { b = w.session(b, i, ss) })
	b = w.orphans(b)
	b = w.outcomes(b)
	b = w.usage.appendBlocks(b, w.clock)
	return message.Seal(b, start, uint32(s.sessions.live))
}

// snapshotWriter appends the parts of a snapshot.
type snapshotWriter struct {
	*Shard
	clock message.Clock
	peers map[*peer]uint32 // the numbers of those that have been appended
	// brief leaves out what changes with every datagram, and names no peers.
	brief bool
}

func (w *snapshotWriter) head(b []byte) []byte {
	b, mark := message.Open(b, snapshotHead)
	b = message.AppendUint(b, headShard, uint64(w.id))
	b = message.AppendTime(b, headTaken, w.clock, w.now)
	b = message.AppendUint(b, headGeneration, w.Shard.sessions.gen)
	b = message.AppendUint(b, headPlaces, w.Shard.sessions.places())
	b = message.AppendDuration(b, headStalled, w.stalls.total)
	b = message.AppendTime(b, headRated, w.clock, w.Shard.peers.ratesAt)
	b, inner := message.Open(b, headCookies)
	b = message.Close(w.admission.cookies.AppendSnapshot(b, w.clock), inner)
	b = message.Close(b, mark)
	for k := max(w.stalls.count-maxStalls, 0); k < w.stalls.count; k++ {
		one := &w.stalls.ring[k%maxStalls]
		b, mark = message.Open(b, snapshotStall)
		b = message.AppendTime(b, stallEnd, w.clock, one.end)
		b = message.Close(message.AppendDuration(b, stallLength, one.length), mark)
	}
	return b
}

// sockets appends the shard's sockets, by index.
func (w *snapshotWriter) sockets(b []byte) []byte {
	var mark int
	w.eachEndpoint(func(ep *endpoint, _ int) {
		number := snapshotFront
		if ep.side == sideBack {
			number = snapshotUpstream
		}
		b, mark = message.Open(b, number)
		b = appendAddress(b, socketAddress, addr.From(ep.sock.Local()))
		b = message.Close(message.AppendUint(b, socketDrops, ep.sock.Drops()), mark)
	})
	return b
}

// counts appends the counters and the published rates.
func (w *snapshotWriter) counts(b []byte) []byte {
	var mark int
	for k, n := range w.counters.local {
		if n == 0 || Counter(k).IsGauge() {
			continue
		}
		b, mark = message.Open(b, snapshotCounter)
		b = message.AppendBytes(b, counterName, Counter(k).String())
		b = message.Close(message.AppendUint(b, counterValue, n), mark)
	}
	if published := w.Shard.peers.rates.Load(); published != nil {
		for id, rate := range *published {
			b, mark = message.Open(b, snapshotRate)
			b = message.AppendBytes(b, rateBackend, id)
			b = message.Close(message.AppendFixed64(b, rateBits, math.Float64bits(rate)), mark)
		}
	}
	return b
}

// peer appends a peer, which gets the next number. One without sessions is that of
// sessions that have ended.
func (w *snapshotWriter) peer(b []byte, p *peer) []byte {
	number := uint32(len(w.peers) + 1)
	w.peers[p] = number
	b, mark := message.Open(b, snapshotPeer)
	b = message.AppendUint(b, peerNumber, number)
	b = message.AppendBytes(b, peerID, p.id)
	b = appendAddress(b, peerAddress, p.addr)
	if p.sessions == 0 {
		return message.Close(b, mark)
	}
	b = message.AppendBool(b, peerLive, true)
	b = message.AppendUint(b, peerUnrated, p.bytes-p.ratedBytes)
	b = message.AppendTime(b, peerLostAt, w.clock, p.lostAt)
	b = message.AppendTime(b, peerProvenAt, w.clock, p.proof.at)
	b = message.AppendTime(b, peerSilentSince, w.clock, p.proof.silentSince)
	b = message.AppendBool(b, peerEnding, slices.Contains(w.Shard.peers.ending, p))
	b = message.AppendTime(b, peerClearedAt, w.clock, p.clearedAt)
	b = message.AppendTime(b, peerUnreachableAt, w.clock, p.unreachableAt)
	var inner int
	for upstream, k := range p.cookies {
		if k.since == 0 {
			continue
		}
		b, inner = message.Open(b, peerCookie)
		b = message.AppendUint(b, cookieUpstream, uint32(upstream))
		b = message.AppendFixed32(b, cookieValue, k.cookie)
		b = message.Close(message.AppendTime(b, cookieSince, w.clock, k.since), inner)
	}
	return message.Close(b, mark)
}

// orphans appends the orphans, from the one that expires first on.
func (w *snapshotWriter) orphans(b []byte) []byte {
	o := &w.Shard.orphans
	var mark int
	for _, e := range o.queue[o.head:] {
		one := o.byKey[e.key]
		if one == nil || one.until != e.until {
			continue
		}
		b, mark = message.Open(b, snapshotOrphan)
		b = appendAddress(b, orphanBackend, e.key.backend)
		b = message.AppendFixed32(b, orphanCallerID, e.key.callerID)
		b = message.AppendUint(b, orphanUpstream, e.key.upstream)
		b = message.AppendFixed32(b, orphanISN, one.isn)
		b = message.AppendFixed32(b, orphanAccepted, one.accepted)
		b = message.AppendTime(b, orphanUntil, w.clock, one.until)
		b = message.Close(message.AppendTime(b, orphanLastShutdown, w.clock, one.lastShutdown), mark)
	}
	return b
}

// outcomes appends what has not been reported of leases.
func (w *snapshotWriter) outcomes(b []byte) []byte {
	var mark int
	for _, o := range w.Shard.outcomes.unreported {
		b, mark = message.Open(b, snapshotOutcome)
		b = message.AppendUint(b, outcomeLease, o.Lease)
		b = message.AppendUint(b, outcomeFate, o.Fate)
		b = message.Close(message.AppendDuration(b, outcomeLasted, o.Lasted), mark)
	}
	return b
}

// appendBlocks appends the streams whose publishers are refused. All else that sources and streams
// have is counted anew, from the sessions; the connects and refusals of the last ten seconds start
// anew.
func (u *usage) appendBlocks(b []byte, clock message.Clock) []byte {
	u.streams.Slice(0, u.streams.Places(), func(key *string, v *limit.Stream, _ bool) (keep bool) {
		if v.BlockedUntil != 0 {
			var mark int
			b, mark = message.Open(b, snapshotBlock)
			b = message.AppendBytes(b, blockStreamKey, *key)
			b = message.Close(message.AppendTime(b, blockUntil, clock, v.BlockedUntil), mark)
		}
		return true
	})
	return b
}

func appendAddress(b []byte, n message.Number, a addr.AddrPort) []byte {
	if !a.IsValid() {
		return b
	}
	var buf [addr.MaxBinary]byte
	return message.AppendBytes(b, n, a.Append(buf[:0]))
}

func appendIP(b []byte, n message.Number, ip addr.IP) []byte {
	if ip == (addr.IP{}) {
		return b
	}
	var buf [addr.MaxBinary]byte
	return message.AppendBytes(b, n, ip.Append(buf[:0]))
}
