package shard

import (
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/wire"
)

const (
	// orphanKept is how long a backend may take to accept a leg 2 that was
	// given up. Its CONCLUSION waits in the backend's socket while that is
	// stopped or busy, and the cookie in it is good for a minute; but a
	// backend that was away for 10 s has lost all its sessions meanwhile, and
	// its own timeout of 5 s ends what it accepts then.
	orphanKept = 10 * time.Second
	// orphanLimit bounds them, 100 bytes each: as many as there are half-open
	// handshakes by default. The oldest gives way.
	orphanLimit = 4096
)

// orphanKey is what a backend's datagrams are matched by, as in byBack.
type orphanKey struct {
	backend  addr.AddrPort
	callerID uint32
	upstream uint8
}

// orphan is a leg 2 that the caller went on without, or was rejected, before
// its backend answered the CONCLUSION. A backend that accepts after that holds
// a connection that nobody uses: to SRS a publisher, who keeps others from
// publishing the stream.
type orphan struct {
	isn          uint32
	accepted     uint32 // the socket ID that it gave, 0 before
	until        time.Duration
	lastShutdown time.Duration
}

// orphans are those of a shard.
type orphans struct {
	byKey map[orphanKey]*orphan
	queue []orphanEnd // in the order of their ends, from head on
	head  int
}

type orphanEnd struct {
	key   orphanKey
	until time.Duration
}

// add remembers a leg 2 that is given up.
func (o *orphans) add(now time.Duration, k orphanKey, isn uint32) {
	if o.byKey == nil {
		o.byKey = make(map[orphanKey]*orphan)
	}
	for o.head < len(o.queue) && (o.queue[o.head].until <= now || len(o.byKey) >= orphanLimit) {
		o.forgetFirst()
	}
	until := now + orphanKept
	o.byKey[k] = &orphan{isn: isn, until: until}
	o.queue = append(o.queue, orphanEnd{k, until})
}

// forgetFirst forgets the one that ends first, unless it has been added again
// since.
func (o *orphans) forgetFirst() {
	first := o.queue[o.head]
	if one := o.byKey[first.key]; one != nil && one.until == first.until {
		delete(o.byKey, first.key)
	}
	if o.head++; 2*o.head >= len(o.queue) {
		o.queue = slices.Delete(o.queue, 0, o.head)
		o.head = 0
	}
}

// find returns the orphan of a key, nil if there is none (any more).
func (o *orphans) find(now time.Duration, k orphanKey) *orphan {
	if len(o.byKey) == 0 {
		return nil
	}
	if one := o.byKey[k]; one != nil && now < one.until {
		return one
	}
	return nil
}

// giveUpLeg remembers the pending leg 2 of a session that goes elsewhere or is
// rejected, if its backend may still accept.
func (s *Shard) giveUpLeg(ss *Session, o *opening) {
	if ss.state == connecting && ss.backend.IsValid() && o.attempt.over == backend.Unused && o.exchange.MayAccept() {
		s.orphans.add(s.now, orphanKey{ss.backend, ss.callerID, ss.port}, ss.isn)
	}
}

// orphanSpeaks takes a backend's datagram that may belong to an orphan: it is
// told to close what it has accepted, and again if it goes on.
//
// Only a response that echoes the caller's ISN is answered, so that who does not
// know it cannot have a connection of his choice shut down; with 20 bytes for
// 64 or more, and not more often than other SHUTDOWNs are repeated.
func (s *Shard) orphanSpeaks(upstream uint8, from addr.AddrPort, p wire.Packet) bool {
	one := s.orphans.find(s.now, orphanKey{from, p.DestID(), upstream})
	if one == nil {
		return false
	}
	if h, ok := wire.AsHandshake(p); ok && h.Type() == wire.Conclusion && h.ISN() == one.isn {
		one.accepted = h.SocketID()
	}
	again := one.lastShutdown != 0 && s.now-one.lastShutdown < shutdownRepeat
	if one.accepted == 0 || again || p.Is(wire.TypeShutdown) {
		return true
	}
	one.lastShutdown = s.now
	s.counters.inc(ShutdownsMade)
	s.backs[upstream].out.Add(from, addr.IP{}, one.accepted, s.made(wire.AppendShutdown(s.room(), 0, one.accepted)))
	return true
}
