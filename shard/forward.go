package shard

import (
	"srtrelay/observe/capture"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/migration"
	"srtrelay/udp"
	"srtrelay/wire"
)

// side is the callers' side of the relay or the backends'.
type side uint8

const (
	sideFront side = iota
	sideBack
)

// received returns the counters of the datagrams that come from this side, and of
// their bytes.
func (d side) received() (datagrams, bytes Counter) {
	if d == sideFront {
		return CountReceivedFront, CountReceivedFrontBytes
	}
	return CountReceivedBack, CountReceivedBackBytes
}

// endpoint is a socket of the loop with its outbox.
type endpoint struct {
	sock    *udp.Socket
	out     *udp.Outbox
	side    side
	index   uint8 // among the endpoints of its side
	ipv6    bool
	adopted bool // its options are still those of the process that opened it
	retired bool // a listener that the configuration no longer names
	closed  bool // a listener's index that is not in use
	// readable says that the socket may have datagrams, hasErrors that its error
	// queue may have entries.
	readable, hasErrors bool
}

// fromCaller handles one datagram from the callers' side and returns its fate.
func (s *Shard) fromCaller(front uint8, d *udp.Datagram, p wire.Packet) Counter {
	id := p.DestID()
	if id == 0 {
		return s.toListener(front, d, p)
	}
	i, ss := s.sessions.byFront(front, &d.From, id)
	if ss == nil {
		return s.toOwner(front, d, p)
	}
	return s.toBackend(i, ss, p)
}

// toBackend forwards a caller's datagram of a session.
func (s *Shard) toBackend(i uint32, ss *session, p wire.Packet) Counter {
	if ss.state != StateEstablished {
		s.capture(ss, capture.ToBackend|capture.Received, p)
		s.handleLateFromCaller(ss)
		return DropClosed
	}
	if ss.inKernel {
		s.relayedUp(i, ss, telemetry.ToBackend, p)
	}
	if drop, fails := s.failsShield(i, ss, telemetry.ToBackend, p); fails {
		return drop
	}
	if len(s.candidates) > 0 && p.Is(wire.TypeACKACK) && s.answersChallenge(i, p) {
		ss.callerSeen = s.now
		return CountConsumed
	}
	ss.responseUsed = true
	ss.callerSeen = s.now
	if ss.unansweredSince == 0 {
		ss.unansweredSince = s.now
	}
	n := uint64(len(p))
	ss.toBackend.Packets++
	if ss.toBackend.Packets&migration.TraceMask == 1 {
		s.sessions.cold(i).trace.Note(s.now, ss.toBackend.Packets, p)
	}
	ss.toBackend.Bytes += n
	s.peers.slots[ss.peerSlot].bytes += n
	s.counters.add(CountForwardedToBackendBytes, n)
	if s.cfg.Telemetry {
		s.observe(i, ss, telemetry.ToBackend, p)
	}
	s.capture(ss, capture.ToBackend|capture.Forwarded, p)
	s.backs[ss.upstream].out.Add(ss.backend, s.pinnedSource(i, ss), ss.backendID, p)
	if p.Is(wire.TypeShutdown) {
		s.endSession(i, ss, CauseCaller)
	}
	return CountForwardedToBackend
}

// fromBackend handles one datagram from the backends' side and returns its fate.
func (s *Shard) fromBackend(upstream uint8, d *udp.Datagram, p wire.Packet) Counter {
	i, ss := s.sessions.byBack(upstream, &d.From, p.DestID())
	if ss == nil {
		if s.handleOrphan(upstream, d.From, p) {
			return DropClosed
		}
		return s.probeReply(d, p)
	}
	return s.toCaller(i, ss, p)
}

// toCaller forwards a backend's datagram of a session, or handles it as a reply of
// the backend leg.
func (s *Shard) toCaller(i uint32, ss *session, p wire.Packet) Counter {
	switch {
	case ss.state == StateConnecting:
		return s.handleLegReply(i, ss, p)
	case ss.state != StateEstablished:
		s.capture(ss, capture.ToCaller|capture.Received, p)
		s.handleLateFromBackend(i, ss, p)
		return DropClosed
	}
	if ss.inKernel {
		s.relayedUp(i, ss, telemetry.ToCaller, p)
	}
	if drop, fails := s.failsShield(i, ss, telemetry.ToCaller, p); fails {
		return drop
	}
	if p.Is(wire.TypeHandshake) && repeatsHandshake(ss, p) {
		s.capture(ss, capture.ToCaller|capture.Received, p)
		return DropDuplicate
	}
	ss.backendSeen = s.now
	ss.unansweredSince = 0
	n := uint64(len(p))
	ss.toCaller.Packets++
	ss.toCaller.Bytes += n
	s.peers.slots[ss.peerSlot].bytes += n
	s.counters.add(CountForwardedToCallerBytes, n)
	if s.cfg.Telemetry {
		s.observe(i, ss, telemetry.ToCaller, p)
	}
	s.capture(ss, capture.ToCaller|capture.Forwarded, p)
	s.fronts[ss.front].out.Add(ss.caller, ss.local, ss.callerID, p)
	if p.Is(wire.TypeShutdown) {
		s.endSession(i, ss, CauseBackend)
	}
	return CountForwardedToCaller
}

// repeatsHandshake reports whether a backend's handshake in an established session
// answers a datagram of the backend leg. The caller must not get it: a second
// response ends the connection of a gosrt caller, and a rejection (of a CONCLUSION
// with a stale cookie) contains the backend's fields. Any other handshake is
// forwarded.
func repeatsHandshake(ss *session, p wire.Packet) bool {
	h, ok := wire.AsHandshake(p)
	if !ok {
		return false
	}
	switch t := h.Type(); {
	case t == wire.HandshakeInduction:
		return true
	case t == wire.HandshakeConclusion:
		return h.ISN() == ss.isn && h.SocketID() == ss.backendID
	default:
		return t.IsRejection() && h.ISN() == ss.isn
	}
}

// observe shows a forwarded datagram to the telemetry.
func (s *Shard) observe(i uint32, ss *session, way telemetry.Way, p wire.Packet) {
	terms := false
	if s.meters.Paused() {
		terms = telemetry.ObserveTerms(p)
	} else {
		terms = s.meters.Observe(&ss.meter, way, s.now, p)
	}
	if terms {
		s.updateTerms(i, ss, way, p)
	}
}

// updateTerms handles what is negotiated later: HSv4's extensions, a new key.
func (s *Shard) updateTerms(i uint32, ss *session, way telemetry.Way, p wire.Packet) {
	if cold := s.sessions.cold(i); cold.terms.Learn(way, p) {
		s.meters.Settle(&ss.meter, &cold.terms)
		s.writeCheckpoint(i, ss)
	}
}

// capture copies a datagram for the captures that its session belongs to. Without
// any it costs one branch.
func (s *Shard) capture(ss *session, how capture.How, p []byte) {
	if ss.captures != 0 {
		s.copyToCaptures(ss, how, p)
	}
}

// scratchSize is the space for the relay's own datagrams of one turn. When it is full
// the outboxes are flushed early.
const scratchSize = 64 << 10

// flush sends what the outboxes hold; only then may the batch and the scratch
// space be used again.
func (s *Shard) flush() {
	if len(s.outgoing) > 0 {
		s.sendLetters()
	}
	s.eachEndpoint(s.flushEndpoint)
	s.scratch = s.scratch[:0]
}

func (s *Shard) flushEndpoint(ep *endpoint, _ int) {
	if ep.out.Pending() > 0 {
		ep.out.Flush()
	}
	o := ep.out.Outcome()
	c := &s.counters
	c.add(CountSent, o.Sent)
	c.add(CountSentBytes, o.SentBytes)
	c.add(CountSendCalls, o.Calls)
	c.add(CountSendBufferFull, o.BufferFull)
	c.add(CountSendTooBig, o.TooBig)
	c.add(CountSendUnreachable, o.Unreachable)
	c.add(CountSendFailed, o.Failed)
	c.add(CountOffloadLost, o.OffloadLost)
	ep.hasErrors = ep.hasErrors || ep.sock.ErrorsPending()
}

// scratchTail returns scratch space for one datagram, which is valid until the
// outboxes are flushed. keepScratch keeps what is appended to it.
func (s *Shard) scratchTail() []byte {
	if cap(s.scratch)-len(s.scratch) < wire.MaxPayload {
		s.flush()
	}
	return s.scratch[len(s.scratch):]
}

// keepScratch keeps what was appended to scratchTail and returns it.
func (s *Shard) keepScratch(b []byte) []byte {
	s.scratch = s.scratch[:len(s.scratch)+len(b)]
	return b
}
