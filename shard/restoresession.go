package shard

import (
	"fmt"
	"math"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
)

// restoredSession is the message of a session, read.
type restoredSession struct {
	session
	cold  coldState
	index uint32
	flags uint8
	peer  uint32 // its number
	timer time.Duration

	key, streamID []byte
	// The messages of its parts; nil without.
	terms, meter, pending, replay, induction, kernel []byte
}

// session restores a session at its place.
func (r *restorer) session(b []byte) error {
	var one restoredSession
	m := message.Read(b)
	for m.Next() {
		if !one.readEnds(&m) && !one.readTimes(&m, r) {
			one.readRest(&m, r)
		}
	}
	err := m.Err()
	if err == nil {
		err = r.place(&one)
	}
	if err != nil {
		return fmt.Errorf("session %d: %w", one.index, err)
	}
	return nil
}

// readEnds reads a field of what every session has; false if it is none.
func (one *restoredSession) readEnds(m *message.Reader) bool {
	switch m.Number() {
	case sessionIndex:
		one.index = message.Uint[uint32](m)
	case sessionGeneration:
		one.gen = message.Uint[uint32](m)
	case sessionState:
		one.state = message.Uint[State](m)
	case sessionFlags:
		one.flags = message.Uint[uint8](m)
	case sessionFront:
		one.front = message.Uint[uint8](m)
	case sessionUpstream:
		one.upstream = message.Uint[uint8](m)
	case sessionCaller:
		one.caller = readAddress(m)
	case sessionCallerID:
		one.callerID = message.Uint[uint32](m)
	case sessionBackendID:
		one.backendID = message.Uint[uint32](m)
	case sessionPeer:
		one.peer = message.Uint[uint32](m)
	case sessionISN:
		one.isn = message.Uint[uint32](m)
	case sessionKey:
		one.key = m.Bytes()
	case sessionStreamID:
		one.streamID = m.Bytes()
	default:
		return false
	}
	return true
}

// readTimes reads a field that is a time; false if it is none.
func (one *restoredSession) readTimes(m *message.Reader, r *restorer) bool {
	var t *time.Duration
	switch m.Number() {
	case sessionTimer:
		t = &one.timer
	case sessionCallerSeen:
		t = &one.callerSeen
	case sessionBackendSeen:
		t = &one.backendSeen
	case sessionOpened:
		t = &one.cold.opened
	case sessionEstablished:
		t = &one.establishedAt
	case sessionUnanswered:
		t = &one.unansweredSince
	case sessionEnded:
		t = &one.cold.ended
	case sessionLastShutdown:
		t = &one.lastShutdown
	default:
		return false
	}
	*t = m.Time(r.clock)
	return true
}

// readRest reads any other field.
func (one *restoredSession) readRest(m *message.Reader, r *restorer) {
	switch m.Number() {
	case sessionPacketsUp:
		one.toBackend.Packets = message.Uint[uint64](m)
	case sessionBytesUp:
		one.toBackend.Bytes = message.Uint[uint64](m)
	case sessionPacketsDown:
		one.toCaller.Packets = message.Uint[uint64](m)
	case sessionBytesDown:
		one.toCaller.Bytes = message.Uint[uint64](m)
	case sessionLease:
		one.lease = message.Uint[backend.Lease](m)
	case sessionLocal:
		one.local = readIP(m)
	case sessionGroup:
		one.group = message.Uint[uint32](m)
	case sessionCause:
		one.cause = message.Uint[Cause](m)
	case sessionTerms:
		one.terms = m.Bytes()
	case sessionMeter:
		one.meter = m.Bytes()
	case sessionPending:
		one.pending = m.Bytes()
	case sessionReplay:
		one.replay = m.Bytes()
	case sessionInduction:
		one.induction = m.Bytes()
	case sessionKernel:
		one.kernel = m.Bytes()
	case sessionMigrations:
		one.cold.migrations = message.Uint[uint16](m)
	case sessionTrace:
		m.Fail(one.cold.trace.Read(message.Read(m.Bytes()), r.clock))
	}
}

// place puts a session at its place and enters it wherever the shard looks for it.
func (r *restorer) place(one *restoredSession) error {
	p, err := r.check(one)
	if err != nil {
		return err
	}
	s, i := r.Shard, one.index
	for uint64(i) >= s.sessions.places() {
		s.sessions.addChunk()
	}
	ss, cold := s.sessions.at(i), s.sessions.cold(i)
	if ss.state != StateFree {
		return fmt.Errorf("another one is in its place")
	}
	one.hasCallerKey, one.responseUsed = false, one.flags&flagResponseUsed != 0
	one.publisher = one.flags&flagPublisher != 0
	one.front = uint8(r.fronts[one.front])
	if one.flags&flagDialled != 0 {
		one.backend = p.addr
	}
	one.cold.peer = p
	one.cold.setNames(string(append(append(s.scratch[:0], one.key...), one.streamID...)), len(one.key))
	if err := r.parts(one); err != nil {
		return err
	}
	*ss, *cold = one.session, one.cold
	s.sessions.live++
	r.enter(i, ss, one)
	r.latest = sessionRef{i, ss.gen}
	return nil
}

// check checks what the shard relies on, and returns the session's peer, nil for none.
func (r *restorer) check(one *restoredSession) (p *peer, err error) {
	dialled, inPeer := one.flags&flagDialled != 0, one.flags&flagInPeer != 0
	if n := int(one.peer); n > 0 && n <= len(r.peers) {
		p = r.peers[n-1]
	}
	live := p != nil && p.addr.IsValid() && r.Shard.peers.byAddr[p.addr] == p
	switch connected := one.state == StateConnecting || one.state == StateEstablished; {
	case one.state == StateFree || one.state > StateClosing || one.gen == 0:
		err = fmt.Errorf("state %v, generation %d", one.state, one.gen)
	case len(one.key) > math.MaxUint16:
		err = fmt.Errorf("a key of %d bytes", len(one.key))
	case uint64(one.index) >= r.places:
		err = fmt.Errorf("its place is beyond the last one")
	case int(one.front) >= len(r.fronts) || r.fronts[one.front] < 0:
		err = fmt.Errorf("its listener %d is not open", one.front)
	case dialled && (p == nil || !p.addr.IsValid() || int(one.upstream) >= len(r.backs)):
		err = fmt.Errorf("no peer %d or upstream socket %d", one.peer, one.upstream)
	case inPeer && !live || connected && !(inPeer && dialled) || one.peer != 0 && p == nil:
		err = fmt.Errorf("no sessions with peer %d", one.peer)
	case (one.state < StateEstablished) != (one.pending != nil):
		err = fmt.Errorf("%v, pending handshake %v", one.state, one.pending != nil)
	case one.state == StateEstablished && one.backendID == 0:
		err = fmt.Errorf("no socket ID of the backend")
	}
	return p, err
}

// parts restores what a session consists of beside its own fields.
func (r *restorer) parts(one *restoredSession) (err error) {
	if one.terms != nil {
		err = one.cold.terms.Restore(one.terms)
		one.session.meter = telemetry.Begin(one.isn, &one.cold.terms)
	}
	if err == nil && one.meter != nil {
		err = r.meters.Restore(&one.session.meter, one.meter, r.now, r.clock)
	}
	if err == nil && one.pending != nil {
		err = r.pending(one)
	}
	if err == nil && one.replay != nil {
		one.cold.replay, err = handshake.RestoreReplay(one.replay, r.clock)
	}
	if err == nil && one.induction != nil && one.state == StateEstablished {
		err = r.induction(one.index, one.induction)
	}
	return err
}

// pending restores what a session has until its caller is answered.
func (r *restorer) pending(one *restoredSession) error {
	o := new(pendingHandshake)
	tried := o.tried[:0]
	m := message.Read(one.pending)
	for m.Next() {
		switch m.Number() {
		case pendingProxyKey:
			o.proxyKey = m.String()
		case pendingLeg:
			m.Fail(o.leg.Restore(m.Bytes(), r.clock, one.caller.IP.Netip(), one.backend.IP.Netip()))
		case pendingDialedAt:
			o.attempt.dialedAt = m.Time(r.clock)
		case pendingDeadline:
			o.attempt.deadline = m.Time(r.clock)
		case pendingAskedAnother:
			o.attempt.askedAnother = m.Bool()
		case pendingAwaiting:
			o.attempt.awaiting = m.Bool()
		case pendingFailure:
			o.attempt.failure = message.Uint[backend.Fate](&m)
		case pendingTried:
			if len(tried) < len(o.tried) {
				tried = append(tried, backend.ID(m.String()))
			}
		case pendingStallsSeen:
			o.stallsSeen = m.Duration()
		}
	}
	resolving := o.leg.Phase() == handshake.PhaseResolving
	switch {
	case m.Err() != nil:
	case !o.leg.Opened() || resolving != (one.state == StateResolving):
		m.Refuse("no backend leg, or in another phase")
	case resolving || o.attempt.awaiting:
		r.unasked = append(r.unasked, sessionRef{one.index, one.gen})
	}
	one.cold.pending = o
	return m.Err()
}

// enter enters a session into its peer's list, the counts and the timers, and notes its keys
// (see sessions.unkey).
func (r *restorer) enter(i uint32, ss *session, one *restoredSession) {
	s := r.Shard
	if ss.hasCallerKey = one.flags&flagCallerKey != 0; ss.hasCallerKey {
		r.keys = append(r.keys, slot{s.sessions.hash(keyCaller, ss.front, &ss.caller, ss.callerID), makeRef(i, keyCaller)})
	}
	if ss.backend.IsValid() {
		r.keys = append(r.keys, slot{s.sessions.hash(keyBack, ss.upstream, &ss.backend, ss.callerID), makeRef(i, keyBack)})
	}
	if ss.backendID != 0 {
		r.keys = append(r.keys, slot{s.sessions.hash(keyFront, ss.front, &ss.caller, ss.backendID), makeRef(i, keyFront)})
	}
	if one.flags&flagInPeer != 0 {
		one.cold.peer.link(&s.sessions, i, ss)
	}
	if ss.state < StateEstablished {
		s.admission.halfOpen++
	}
	s.restoreAccount(i, ss)
	if ss.state > StateEstablished {
		s.sessions.tombstones++
	}
	if one.kernel != nil {
		r.kernels = append(r.kernels, kernelPart{i, one.kernel})
	}
	s.wheel.Set(i, one.timer)
}
