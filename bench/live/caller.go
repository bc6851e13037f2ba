//go:build linux

package live

import (
	"time"

	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
	"srtrelay/wire"
)

// phase is how far a caller has come.
type phase uint8

const (
	idle       phase = iota // not begun, or ended
	inducting               // the INDUCTION is out
	concluding              // the CONCLUSION is out
	connected
)

// caller is one session's calling end. It belongs to the loop.
type caller struct {
	flow
	spec   Spec
	stays  bool
	stream string
	phase  phase
	id     uint32
	isn    uint32
	cookie uint32
	port   int
	since  int64 // when it wanted a session
	first  int64 // when the handshake began
	repeat int64 // when it is to be repeated
	again  int64 // when a session that stays connects again
}

// begin sends a caller's INDUCTION.
func (c *Callers) begin(k *caller) {
	for {
		c.id = (c.id + 1) & idMask
		if c.id != 0 && c.byID[c.id] == nil {
			break
		}
	}
	k.id, k.isn, k.phase, k.first = c.id, c.rng.Uint32()&srt.MaxSequence, inducting, c.now
	k.port = int(k.id) % len(c.fds)
	c.byID[k.id] = k
	c.all = append(c.all, k)
	c.counts.Attempts++
	c.handshake(k)
}

// handshake sends the INDUCTION or the CONCLUSION, by the caller's phase.
func (c *Callers) handshake(k *caller) {
	b := c.buffer[:0]
	peer := c.config.Target.Addr()
	if k.phase == inducting {
		b = srt.AppendInduction(b, k.id, k.isn, peer)
	} else {
		w := srt.Request{Stream: k.stream, Play: k.spec.Play, Rate: k.spec.Rate, Count: k.spec.Count}
		b = srt.AppendConclusion(b, k.id, k.isn, k.cookie, peer, w.StreamID())
	}
	wire.Packet(b).SetTimestamp(c.timestamp())
	k.repeat = c.now + repeatAfter
	c.send(k, b)
}

func (c *Callers) send(k *caller, b []byte) {
	if !socket.Send(c.fds[k.port], b) {
		c.counts.Unsent++
	}
}

// visit does what is due for a caller.
func (c *Callers) visit(k *caller, sent *int) {
	if k.phase == idle {
		return
	}
	if k.phase != connected {
		switch {
		case c.leaving, c.now-k.first >= connectFor:
			c.fail(k)
		case c.now >= k.repeat:
			c.handshake(k)
		}
		return
	}
	for *sent < burst && !c.silent && k.pending(c.now) {
		*sent++
		c.send(k, k.put(c.payload, c.timestamp(), 0, c.now))
	}
	switch {
	case c.now-k.heard > int64(c.config.Patience):
		c.end(k, TimedOut)
	case k.done() && k.ledger.Received >= k.limit:
		c.hangUp(k, Planned)
	case k.done() && c.now-k.due > restFor:
		c.hangUp(k, Incomplete)
	case c.now-k.spoke >= keepAlive:
		k.spoke = c.now
		c.send(k, srt.PutKeepalive(c.buffer, k.peer, c.timestamp()))
	}
}

// handle handles a datagram for a caller.
func (c *Callers) handle(k *caller, b []byte) {
	if h, ok := wire.AsHandshake(b); ok {
		c.handleHandshake(k, h)
		return
	}
	if k.phase != connected {
		c.counts.Unknown++
		return
	}
	p := wire.Packet(b)
	if k.ledger.Server < 0 {
		if stamp, ok := srt.ReadStamp(p); ok && !p.IsControl() {
			k.ledger.Server = int(stamp.Session)
		}
	}
	over := k.handle(p, c.timestamp(), c.now, func(write func([]byte) []byte) { c.send(k, write(c.buffer)) })
	if over {
		c.end(k, HungUp)
	}
}

// handleHandshake handles a handshake for a caller.
func (c *Callers) handleHandshake(k *caller, h wire.Handshake) {
	switch {
	case k.phase == inducting && h.Type() == wire.HandshakeInduction && h.Version() == 5 && h.Extension() == wire.MagicCode:
		k.cookie, k.phase = h.Cookie(), concluding
		c.handshake(k)
	case k.phase == concluding && h.Type() == wire.HandshakeInduction:
		// The cookie has expired, or this is a copy of what is known.
		if h.Cookie() != k.cookie {
			k.cookie = h.Cookie()
			c.handshake(k)
		}
	case (k.phase == inducting || k.phase == concluding) && h.Type().IsRejection():
		if c.counts.Rejected == nil {
			c.counts.Rejected = map[uint32]uint64{}
		}
		c.counts.Rejected[uint32(h.Type())]++
		c.fail(k)
	case k.phase == concluding && srt.Accepted(h) && h.ISN() == k.isn:
		k.phase = connected
		k.flow = newFlow(k.id, h.SocketID(), k.isn, c.now)
		k.ledger.Stream = k.stream
		k.pace(k.spec.Rate, k.spec.Count, c.now)
		c.counts.Connected++
		if len(c.waits) < maxWaits {
			c.waits = append(c.waits, time.Duration(c.now-k.since))
		}
	}
}

func (c *Callers) fail(k *caller) {
	c.counts.Failed++
	delete(c.byID, k.id)
	k.phase, k.again = idle, c.now+againAfter
}

// hangUp ends a session by a SHUTDOWN.
func (c *Callers) hangUp(k *caller, why End) {
	c.send(k, srt.PutShutdown(c.buffer, k.peer, c.timestamp()))
	c.end(k, why)
}

func (c *Callers) end(k *caller, why End) {
	k.ledger.End, k.ledger.At = why, c.now
	if c.counts.Ended == nil {
		c.counts.Ended = map[End]uint64{}
	}
	c.counts.Ended[why]++
	c.counts.add(k.ledger)
	c.ended = append(c.ended, k.ledger)
	k.flow = flow{}
	delete(c.byID, k.id)
	k.phase, k.again, k.since = idle, c.now, c.now
}
