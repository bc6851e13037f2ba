package shard

import (
	"net/netip"
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/udp"
	"srtrelay/wire"
)

// pickUpstream returns the first upstream socket on which the caller's socket ID is
// not in use with this backend: a backend's datagrams bear nothing else to tell two
// sessions apart. Sessions share sockets because datagrams of one 4-tuple share
// superpackets.
func (s *Shard) pickUpstream(to *addr.AddrPort, callerID uint32) (upstream uint8, ok bool) {
	ipv6 := !to.Is4()
	free, orphaned, mayOpen := s.findUpstream(to, callerID)
	switch {
	case free >= 0:
		return uint8(free), true
	case mayOpen:
	case orphaned >= 0:
		delete(s.orphans.byKey, orphanKey{*to, callerID, uint8(orphaned)})
		return uint8(orphaned), true
	default:
		return 0, false
	}
	if err := s.openUpstream(ipv6); err != nil {
		s.counters.inc(CountUpstreamsFailed)
		s.upstreamRetryAt = s.now + upstreamRetry
		s.emit(Event{Kind: EventUpstreamFailed, Err: err})
		return 0, false
	}
	return uint8(len(s.backs) - 1), true
}

// findUpstream looks for an open socket on which the ID is free, and for one on which only an
// orphan uses it; -1 for none. mayOpen says that there may be another socket.
func (s *Shard) findUpstream(to *addr.AddrPort, callerID uint32) (free, orphaned int, mayOpen bool) {
	open := 0
	orphaned = -1
	for p := range s.backs {
		if s.backs[p].ipv6 == to.Is4() {
			continue
		}
		open++
		if _, taken := s.sessions.byBack(uint8(p), to, callerID); taken != nil {
			continue
		}
		if s.orphans.find(s.now, orphanKey{*to, callerID, uint8(p)}) == nil {
			return p, orphaned, false
		}
		orphaned = p
	}
	return -1, orphaned, open < s.cfg.UpstreamPorts && s.now >= s.upstreamRetryAt
}

// holdsDial reports whether a dial would open an upstream socket while that is not allowed.
// The dial is then put on held.
func (s *Shard) holdsDial(to addr.AddrPort, callerID uint32) bool {
	if !s.upstreamsHeld {
		return false
	}
	free, _, mayOpen := s.findUpstream(&to, callerID)
	return free < 0 && mayOpen
}

// releaseUpstreams allows upstream sockets to be opened again.
func (s *Shard) releaseUpstreams() {
	s.upstreamsHeld = false
	held := s.held
	s.held = nil
	for _, t := range held {
		t(s)
	}
}

// upstreamRetry is how soon another upstream socket is tried after one could not be
// opened: callers come faster than descriptors are freed.
const upstreamRetry = time.Second

// openUpstream opens another upstream socket of one address family.
func (s *Shard) openUpstream(ipv6 bool) error {
	ip := netip.IPv4Unspecified()
	if ipv6 {
		ip = netip.IPv6Unspecified()
	}
	sock, err := udp.OpenBack(ip, s.upstreamOptions())
	if err != nil {
		return err
	}
	s.addUpstream(sock, false)
	return nil
}

// upstreamOptions are the options of upstream sockets.
func (s *Shard) upstreamOptions() udp.Options {
	options := s.cfg.Sockets
	if s.kernel.path != nil {
		options.GRO = false // a train of several sessions would have to go up
	}
	return options
}

func (s *Shard) addUpstream(sock *udp.Socket, adopted bool) {
	s.poller.Add(sock)
	s.backs = append(s.backs, endpoint{
		sock: sock, out: udp.NewOutbox(sock), side: sideBack, index: uint8(len(s.backs)),
		ipv6: !sock.Local().Addr().Is4(), adopted: adopted, hasErrors: adopted,
	})
	s.upstreams.Store(int64(len(s.backs)))
}

// addFront adds the socket of the next listener; nil for an index that is not in use.
func (s *Shard) addFront(sock *udp.Socket, adopted, retired bool) {
	closed := sock == nil
	if closed {
		sock = udp.ClosedSocket()
	}
	s.poller.Add(sock)
	s.fronts = append(s.fronts, endpoint{
		sock: sock, out: udp.NewOutbox(sock), side: sideFront, index: uint8(len(s.fronts)),
		readable: !closed, adopted: adopted, retired: retired, closed: closed,
	})
}

// errorsPerTurn limits the ICMP errors that a turn reads from one socket.
const errorsPerTurn = 16

// readErrors reads the error queues of the upstream sockets.
func (s *Shard) readErrors() {
	for port := range s.backs {
		l := &s.backs[port]
		if !l.hasErrors {
			continue
		}
		n := l.sock.ReadErrors(errorsPerTurn, func(r udp.Refusal) { s.refused(uint8(port), r) })
		l.hasErrors = n == errorsPerTurn
	}
}

// refused handles an ICMP error for a datagram to a backend.
func (s *Shard) refused(port uint8, r udp.Refusal) {
	s.counters.inc(CountRefusals)
	p := s.peers.byAddr[r.From]
	switch {
	case p == nil:
		return
	case r.Kind == udp.KindUnreachable:
		p.unreachableAt = s.now
		return
	case r.Kind != udp.KindRefused:
		return
	}
	if s.provesRefusal(port, p, r.Quoted) {
		s.backendLost(p, proof{at: s.now, silentSince: never})
		return
	}
	if !p.refused {
		s.startProbing(p)
		p.refused = true
	}
}

// provesRefusal reports whether the quoted datagram is one of the relay's that an
// outsider cannot know: a probe, or the INDUCTION of a pending handshake.
func (s *Shard) provesRefusal(port uint8, p *peer, quoted []byte) bool {
	h, ok := wire.AsHandshake(quoted)
	if !ok || h.Packet().DestID() != 0 {
		return false
	}
	if p.suspect && h.SocketID() == p.probeID && h.ISN() == uint32(p.nonce) {
		return true
	}
	i, ss := s.sessions.byBack(port, &p.addr, h.SocketID())
	return ss != nil && ss.state == StateConnecting && s.sessions.leg(i).MatchesInduction(quoted)
}

const (
	// orphanTTL is how long a backend may take to accept a leg that was given
	// up. The CONCLUSION waits in the backend's socket while that is stopped or
	// busy, and its cookie is valid for a minute; but a backend that was away
	// for longer than this has lost all its sessions, and its own timeout of 5 s
	// ends what it accepts then.
	orphanTTL = 10 * time.Second
	// orphanLimit is the most orphans, as many as there may be half-open
	// handshakes by default. The oldest is evicted.
	orphanLimit = 4096
)

// orphanKey is what a backend's datagrams bear, as in byBack.
type orphanKey struct {
	backend  addr.AddrPort
	callerID uint32
	upstream uint8
}

// orphan is a backend leg that was given up, by failover or rejection, before the
// backend answered the CONCLUSION. A backend that accepts it later has a connection
// that nobody uses: for SRS a publisher, which blocks others from publishing the
// stream.
type orphan struct {
	isn          uint32
	accepted     uint32 // the socket ID of the backend's response, 0 before
	until        time.Duration
	lastShutdown time.Duration
}

// orphans are the orphans of a shard. They belong to its loop.
type orphans struct {
	byKey map[orphanKey]*orphan
	queue []orphanExpiry // by expiry, from head on
	head  int
}

type orphanExpiry struct {
	key   orphanKey
	until time.Duration
}

// add remembers a leg that is given up.
func (o *orphans) add(now time.Duration, k orphanKey, isn uint32) {
	for o.head < len(o.queue) && (o.queue[o.head].until <= now || len(o.byKey) >= orphanLimit) {
		o.evictOldest()
	}
	o.put(k, orphan{isn: isn, until: now + orphanTTL})
}

// put adds an orphan that expires after all others.
func (o *orphans) put(k orphanKey, one orphan) {
	if o.byKey == nil {
		o.byKey = make(map[orphanKey]*orphan)
	}
	o.byKey[k] = &one
	o.queue = append(o.queue, orphanExpiry{k, one.until})
}

// evictOldest removes the orphan that expires first, unless it has been added again
// since.
func (o *orphans) evictOldest() {
	first := o.queue[o.head]
	if one := o.byKey[first.key]; one != nil && one.until == first.until {
		delete(o.byKey, first.key)
	}
	if o.head++; 2*o.head >= len(o.queue) {
		o.queue = slices.Delete(o.queue, 0, o.head)
		o.head = 0
	}
}

// find returns the orphan of a key, nil if there is none or it has expired.
func (o *orphans) find(now time.Duration, k orphanKey) *orphan {
	if len(o.byKey) == 0 {
		return nil
	}
	if one := o.byKey[k]; one != nil && now < one.until {
		return one
	}
	return nil
}

// orphanLeg remembers the leg of a session that fails over or is rejected, if its
// backend may still accept it.
func (s *Shard) orphanLeg(ss *session, o *pendingHandshake) {
	if ss.state == StateConnecting && ss.backend.IsValid() && o.attempt.failure == backend.FateUnused && o.leg.MayAccept() {
		s.orphans.add(s.now, orphanKey{ss.backend, ss.callerID, ss.upstream}, ss.isn)
	}
}

// handleOrphan handles a backend's datagram that may belong to an orphan; false if it
// does not. A backend that has accepted the leg gets a SHUTDOWN, and another one if
// it goes on sending.
//
// That takes a response that echoes the caller's ISN, so that only who knows it can
// cause a SHUTDOWN. The reply is shorter than the response, and is repeated as
// seldom as other SHUTDOWNs.
func (s *Shard) handleOrphan(upstream uint8, from addr.AddrPort, p wire.Packet) bool {
	one := s.orphans.find(s.now, orphanKey{from, p.DestID(), upstream})
	if one == nil {
		return false
	}
	if h, ok := wire.AsHandshake(p); ok && h.Type() == wire.HandshakeConclusion && h.ISN() == one.isn {
		one.accepted = h.SocketID()
	}
	again := one.lastShutdown != 0 && s.now-one.lastShutdown < shutdownInterval
	if one.accepted == 0 || again || p.Is(wire.TypeShutdown) {
		return true
	}
	one.lastShutdown = s.now
	s.counters.inc(CountShutdownsMade)
	s.backs[upstream].out.Add(from, addr.IP{}, one.accepted, s.keepScratch(wire.AppendShutdown(s.scratchTail(), 0, one.accepted)))
	return true
}
