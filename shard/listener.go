package shard

import (
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
	"srtrelay/udp"
	"srtrelay/wire"
)

// toListener takes what is addressed to the listener (socket ID 0): the only
// place where a stranger's datagram is answered or kept.
func (s *Shard) toListener(front uint8, d *udp.Datagram, b []byte) Counter {
	h, ok := wire.AsHandshake(b)
	switch {
	case !ok && wire.Packet(b).Is(wire.TypeHandshake):
		return DropMalformed
	case !ok:
		return DropNotHandshake
	case len(b) > wire.MaxPayload || h.SocketID() == 0:
		return DropMalformed
	case h.Type() == wire.Induction:
		return s.induction(front, d, h)
	case h.Type() == wire.Conclusion:
		return s.conclusion(front, d, h)
	}
	return DropRendezvous
}

// induction answers without remembering anything, one reply per request and no
// longer than it.
func (s *Shard) induction(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	what := uint64(h.SocketID())<<32 | uint64(h.Packet().Timestamp())
	if s.recent.Seen(s.now, d.From.Hash(s.seed^what)) {
		return DropDuplicate
	}
	if i, ss := s.byCaller(front, &d.From, h.SocketID()); ss != nil && ss.state.alive() {
		return s.inductionOfKnown(i, ss, d, h)
	}
	if s.draining {
		return s.refuse(front, d, h, handshake.CodeDown)
	}
	if !s.affords(d.From.IP, inductionCost) {
		return DropHandshakeBudget
	}
	s.counters.inc(Inductions)
	s.sendInduction(front, d, h)
	return Answered
}

func (s *Shard) sendInduction(front uint8, d *udp.Datagram, h wire.Handshake) {
	cookie := s.jar.Generate(s.now, d.From)
	reply := handshake.AppendInductionReply(s.room(), h, cookie, s.snapshot.KeyLen, d.From.IP.Netip())
	s.fronts[front].out.Add(d.From, d.Local, h.SocketID(), s.made(reply))
}

// refuse sends a rejection that needs no state.
func (s *Shard) refuse(front uint8, d *udp.Datagram, h wire.Handshake, code handshake.Code) Counter {
	s.counters.inc(Rejected)
	s.fronts[front].out.Add(d.From, d.Local, h.SocketID(), s.made(handshake.AppendRejection(s.room(), h, code)))
	return Answered
}

// conclusion opens a handshake, or finds the one that this datagram repeats.
func (s *Shard) conclusion(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	if !handshake.Valid(h) {
		return DropMalformed
	}
	i, ss := s.byCaller(front, &d.From, h.SocketID())
	if !s.jar.Check(s.now, d.From, h.Cookie()) {
		if ss != nil {
			// Its CONCLUSION has been taken: another INDUCTION reply, which
			// whoever forges its address could order, would disturb it.
			return DropCookie
		}
		return s.inductAgain(front, d, h)
	}
	if ss != nil && ss.isn == h.ISN() {
		return s.again(i, ss, h)
	}
	if ss != nil && (ss.state == resolving || ss.state == connecting) {
		// One attempt at a time: else one caller could have any number of
		// backends chosen for it, past every cap.
		return DropDuplicate
	}
	if s.draining {
		return s.refuse(front, d, h, handshake.CodeDown)
	}
	if fate, crowded := s.crowded(d.From.IP); crowded {
		return fate
	}
	if !s.affords(d.From.IP, conclusionCost) {
		return DropHandshakeBudget
	}
	req, code := handshake.ParseConclusion(h)
	routed, told := streamid.Routed{}, h
	if code == handshake.CodeNone {
		routed, told, code = s.route(front, d, h, req)
	}
	if code == handshake.CodeNone && s.full(d.From.IP, ss) {
		code = handshake.CodeOverload
	}
	if code != handshake.CodeNone {
		s.emit(Event{
			Kind: CallerRejected, Caller: d.From.Netip(), CallerID: req.CallerID,
			Key: routed.Key, StreamID: req.StreamID, Publish: routed.Stream.Publish, Code: code,
		})
		return s.refuse(front, d, h, code)
	}
	if ss != nil {
		s.replace(i, ss)
	}
	fate := s.open(front, d, told, backend.Query{
		Key: routed.Key, Spelled: routed.Spelled, Group: req.Group, StreamID: req.StreamID,
		Publish: routed.Stream.Publish, Caller: d.From.Netip(),
	})
	if fate == Parked && routed.Changed {
		i, _ := s.byCaller(front, &d.From, h.SocketID())
		s.sessions.exchange(i).SetOriginal(req)
	}
	if fate == Parked {
		s.tapOpened(front, d, h)
	}
	return fate
}

// route applies the rules. told is the CONCLUSION for the backend: h itself,
// or a copy with another stream ID.
func (s *Shard) route(front uint8, d *udp.Datagram, h wire.Handshake, req handshake.Request) (streamid.Routed, wire.Handshake, handshake.Code) {
	routed, err := streamid.Route(s.cfg.Rules.Set(), rules.Request{
		ListenPort: s.fronts[front].sock.Local().Port(), Caller: d.From.Netip(),
		StreamID: req.StreamID, HSv4: h.Version() == 4,
	})
	told := h
	if err == nil && routed.Changed {
		// Not in the scratch space: a SHUTDOWN to the connection that this
		// one replaces may be made before the exchange has its copy.
		told, err = handshake.RewriteStreamID(nil, h, routed.StreamID)
	}
	return routed, told, streamid.Refusal(err)
}

// inductAgain answers a CONCLUSION whose cookie has gone stale, on the way or
// with a restart of the relay, as if it were an INDUCTION: an async caller then
// concludes at once with the new cookie instead of timing out in silence.
func (s *Shard) inductAgain(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	if s.draining || !s.reinduct.Allow(s.now, d.From.Hash(s.seed)) {
		return DropCookie
	}
	s.counters.inc(Reinductions)
	s.sendInduction(front, d, h)
	return Answered
}
