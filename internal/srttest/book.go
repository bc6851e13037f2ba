package srttest

import "srtrelay/wire"

// book counts a packet of an established session and answers as SRT does: a full ACK, a
// handshake inside the session, and a KEEPALIVE if so set. It reports whether the packet is
// new data. Called with mu held.
func (e *endpoint) book(b []byte) (fresh bool) {
	p, c := wire.Packet(b), &e.counters
	if !p.IsControl() {
		return e.bookData(p)
	}
	switch {
	case p.Is(wire.TypeHandshake):
		c.Handshakes++
		if h, ok := wire.AsHandshake(b); ok {
			e.handshakeInSession(h)
		}
	case p.Is(wire.TypeACK):
		c.Acks++
		// Lite and small ACKs are not answered (libsrt compares the length).
		if n := len(b); n > liteAckSize && n != smallAckSize && p.TypeInfo() != 0 {
			e.sendControl(wire.TypeACKACK, p.TypeInfo(), padding)
		}
	case p.Is(wire.TypeACKACK):
		c.AckAcks++
	case p.Is(wire.TypeNAK):
		c.Naks++
	case p.Is(wire.TypeKeepalive):
		c.Keepalives++
		if e.echoKeepalives {
			e.sendControl(wire.TypeKeepalive, 0, padding)
		}
	case p.Is(wire.TypeShutdown):
		c.Shutdowns++
		e.finish()
	default:
		c.OtherControl++
	}
	return false
}

func (e *endpoint) bookData(p wire.Packet) (fresh bool) {
	c := &e.counters
	if p.TypeInfo()&messageMask == 0 {
		c.Filter++
		return false
	}
	c.Received++
	c.ReceivedBytes += uint64(len(p) - wire.HeaderSize)
	if p.TypeInfo()&retransmitBit != 0 {
		c.Retransmitted++
	}
	a, gap := e.window.add(p.Sequence())
	c.Lost += uint64(gap)
	switch a {
	case late:
		c.Reordered++
		c.Lost--
	case duplicate:
		c.Duplicated++
	case stale:
		c.Stale++
	case inOrder, afterGap:
	}
	return a != duplicate && a != stale
}

// finish closes done once; mu is held.
func (e *endpoint) finish() {
	if !e.isDone {
		e.isDone = true
		close(e.done)
	}
}

// handshakeInSession answers a handshake inside an established session as libsrt's
// processCtrlHS does: an INDUCTION with wire 1004, a rejection with an HSv4
// CONCLUSION, a CONCLUSION not at all. So the exchange ends by itself, unless
// a relay takes part in it.
func (e *endpoint) handshakeInSession(h wire.Handshake) {
	reply := make(wire.Handshake, wire.HandshakeSize)
	copy(reply, h)
	wire.PutControl(reply, wire.TypeHandshake, e.now(), e.peerID)
	switch t := h.Type(); {
	case t == wire.HandshakeInduction:
		reply.SetVersion(0)
		reply.SetCookie(0)
		reply.SetType(rogue)
	case t.IsRejection():
		reply.SetVersion(4)
		reply.SetType(wire.HandshakeConclusion)
	default:
		return
	}
	e.send(reply, e.peer)
}
