package shard

import (
	"fmt"
	"maps"
	"slices"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/internal/message"
	"srtrelay/pool"
	"srtrelay/shard/limit"
	"srtrelay/wire"
)

// front finds the listener that a snapshot names. Its index may be another one here.
func (r *restorer) front(b []byte) error {
	at, drops, err := readSocket(b)
	k := slices.IndexFunc(r.Shard.fronts, func(ep endpoint) bool { return addr.From(ep.sock.Local()) == at })
	if k >= 0 {
		r.Shard.fronts[k].sock.ResumeDrops(drops)
	}
	r.fronts = append(r.fronts, k)
	return err
}

// upstream checks an upstream socket, which must be the same: its sessions are those of
// its port.
func (r *restorer) upstream(b []byte) error {
	at, drops, err := readSocket(b)
	k := r.upstreams
	r.upstreams++
	switch {
	case err != nil:
		return err
	case k >= len(r.backs):
		return fmt.Errorf("upstream socket %d at %v is not open", k, at)
	case addr.From(r.backs[k].sock.Local()) != at:
		return fmt.Errorf("upstream socket %d is at %v, not at %v", k, r.backs[k].sock.Local(), at)
	}
	r.backs[k].sock.ResumeDrops(drops)
	return nil
}

func readSocket(b []byte) (at addr.AddrPort, drops uint32, err error) {
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case socketAddress:
			at = readAddress(&m)
		case socketDrops:
			drops = message.Uint[uint32](&m)
		}
	}
	return at, drops, m.Err()
}

func readAddress(m *message.Reader) addr.AddrPort {
	at, ok := addr.FromBinary(m.Bytes())
	if !ok {
		m.Refuse("no address")
	}
	return at
}

func readIP(m *message.Reader) addr.IP {
	ip, ok := addr.IPFromBinary(m.Bytes())
	if !ok {
		m.Refuse("no IP address")
	}
	return ip
}

// peer restores a peer. One without sessions is for those that have ended; it is not
// among the shard's peers.
func (r *restorer) peer(b []byte) error {
	p := new(peer)
	number, live, ending := uint32(0), false, false
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case peerNumber:
			number = message.Uint[uint32](&m)
		case peerID:
			p.id = backend.ID(m.String())
		case peerAddress:
			p.addr = readAddress(&m)
		case peerLive:
			live = m.Bool()
		case peerCookie:
			m.Fail(r.cookie(p, m.Bytes()))
		case peerUnrated:
			p.bytes = message.Uint[uint64](&m)
		case peerLostAt:
			p.lostAt = m.Time(r.clock)
		case peerProvenAt:
			p.proof.at = m.Time(r.clock)
		case peerSilentSince:
			p.proof.silentSince = m.Time(r.clock)
		case peerEnding:
			ending = m.Bool()
		case peerClearedAt:
			p.clearedAt = m.Time(r.clock)
		case peerUnreachableAt:
			p.unreachableAt = m.Time(r.clock)
		}
	}
	r.peers = append(r.peers, p)
	all := &r.Shard.peers
	switch {
	case m.Err() != nil:
	case int(number) != len(r.peers):
		m.Refuse("peers are not in order")
	case !live:
	case !p.addr.IsValid() || all.byAddr[p.addr] != nil || !all.hasRoom(p.addr):
		m.Refuse("no address, or one of another peer")
	default:
		all.add(p)
		if ending {
			all.ending = append(all.ending, p)
		}
	}
	return m.Err()
}

func (r *restorer) cookie(p *peer, b []byte) error {
	var upstream uint8
	var k cachedCookie
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case cookieUpstream:
			upstream = message.Uint[uint8](&m)
		case cookieValue:
			k.cookie = message.Uint[uint32](&m)
		case cookieSince:
			k.since = m.Time(r.clock)
		}
	}
	p.storeCookie(upstream, k.cookie, k.since)
	return m.Err()
}

func (r *restorer) orphan(b []byte) error {
	var key orphanKey
	var one orphan
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case orphanBackend:
			key.backend = readAddress(&m)
		case orphanCallerID:
			key.callerID = message.Uint[uint32](&m)
		case orphanUpstream:
			key.upstream = message.Uint[uint8](&m)
		case orphanISN:
			one.isn = message.Uint[uint32](&m)
		case orphanAccepted:
			one.accepted = message.Uint[uint32](&m)
		case orphanUntil:
			one.until = m.Time(r.clock)
		case orphanLastShutdown:
			one.lastShutdown = m.Time(r.clock)
		}
	}
	if len(r.orphans.byKey) < orphanLimit {
		r.orphans.put(key, one)
	}
	return m.Err()
}

func (r *restorer) outcome(b []byte) error {
	var o backend.Outcome
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case outcomeLease:
			o.Lease = message.Uint[backend.Lease](&m)
		case outcomeFate:
			o.Fate = message.Uint[backend.Fate](&m)
		case outcomeLasted:
			o.Lasted = m.Duration()
		}
	}
	r.outcomes.unreported = append(r.outcomes.unreported, o)
	return m.Err()
}

func (r *restorer) stall(b []byte) error {
	var one stall
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case stallEnd:
			one.end = m.Time(r.clock)
		case stallLength:
			one.length = m.Duration()
		}
	}
	r.stalls.ring[r.stalls.count%maxStalls] = one
	r.stalls.count++
	return m.Err()
}

// countersByName finds a counter by its name; gauges are not among them.
var countersByName = maps.Collect(func(yield func(string, Counter) bool) {
	for k := range NumCounters {
		if !k.IsGauge() && !yield(k.String(), k) {
			return
		}
	}
})

func (r *restorer) counter(b []byte) error {
	var name string
	var value uint64
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case counterName:
			name = m.String()
		case counterValue:
			value = message.Uint[uint64](&m)
		}
	}
	if k, known := countersByName[name]; known {
		r.counts[k] = value
	}
	return m.Err()
}

func (r *restorer) rate(b []byte) error {
	var id backend.ID
	var rate float64
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case rateBackend:
			id = backend.ID(m.String())
		case rateBits:
			rate = m.Float()
		}
	}
	r.rates[id] = rate
	return m.Err()
}

func (r *restorer) induction(i uint32, b []byte) error {
	var one pendingInduction
	var request []byte
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case inductionRequest:
			request = m.Bytes()
		case inductionLocal:
			one.local = readIP(&m)
		case inductionAt:
			one.at = m.Time(r.clock)
		}
	}
	if h, ok := wire.AsHandshake(request); !ok || len(h) != wire.HandshakeSize {
		m.Refuse("no INDUCTION")
	}
	if err := m.Err(); err != nil {
		return err
	}
	one.request = pool.Get(request)
	r.pendingInductions[i] = one
	return nil
}

// restoreBlock reads a stream whose publishers are refused.
func (u *usage) restoreBlock(b []byte, clock message.Clock) error {
	var key []byte
	var one limit.Stream
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case blockStreamKey:
			key = slices.Clone(m.Bytes())
		case blockUntil:
			one.BlockedUntil = m.Time(clock)
		}
	}
	if m.Err() == nil {
		u.streams.Use(string(key)).BlockedUntil = one.BlockedUntil
	}
	return m.Err()
}
