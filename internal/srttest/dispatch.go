package srttest

import (
	"net/netip"
	"slices"
	"time"

	"srtrelay/wire"
)

// dispatch finds the receiver of a datagram: the listening socket for destination ID 0,
// otherwise a connection from that source, or none.
func (l *Listener) dispatch(from netip.AddrPort, b []byte) {
	defer l.notifier.Notify()
	l.stats.datagrams.Add(1)
	if l.cfg.Observe != nil {
		l.cfg.Observe(from, b)
	}
	if l.takeDrop() {
		l.stats.dropped.Add(1)
		return
	}
	if len(b) < wire.HeaderSize {
		l.stats.ignored.Add(1)
		return
	}
	if id := wire.Packet(b).DestID(); id != 0 {
		l.established(route{from, id}, b)
		return
	}
	h, ok := wire.AsHandshake(b)
	if !ok {
		l.stats.ignored.Add(1)
		return
	}
	h = slices.Clone(h) // kept in the log, and perhaps for later
	l.note(from, h)
	if l.silent.Load() {
		l.stats.dropped.Add(1)
		return
	}
	if d := time.Duration(l.slow.Load()); d > 0 {
		l.scheduler.after(d, func() {
			l.handshake(from, h)
			l.notifier.Notify()
		})
		return
	}
	l.handshake(from, h)
}

func (l *Listener) established(r route, b []byte) {
	if l.silent.Load() {
		l.stats.dropped.Add(1)
		return
	}
	l.mu.RLock()
	c := l.live[r]
	l.mu.RUnlock()
	if c == nil {
		l.stats.unknown.Add(1)
		return
	}
	c.receive(b)
}

func (l *Listener) note(from netip.AddrPort, h wire.Handshake) {
	switch h.Type() {
	case wire.HandshakeInduction:
		l.stats.inductions.Add(1)
	case wire.HandshakeConclusion:
		l.stats.conclusions.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.log) < logLimit {
		l.log = append(l.log, Handshake{At: time.Now(), From: from, Packet: h})
	}
}

// remove removes a connection from dispatch. It stays in Connections.
func (l *Listener) remove(c *Connection) {
	l.mu.Lock()
	if l.live[route{c.Source, c.ID}] == c {
		delete(l.live, route{c.Source, c.ID})
	}
	if o := l.origin(c.Source, c.Conclusion); l.accepted[o] == c {
		delete(l.accepted, o)
	}
	l.mu.Unlock()
	c.mu.Lock()
	c.finish()
	c.mu.Unlock()
	c.notifier.Notify()
	l.notifier.Notify()
}
