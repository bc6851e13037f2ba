package shard

import (
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/shard/limit"
	"srtrelay/streamid"
	"srtrelay/streamid/rules"
	"srtrelay/udp"
	"srtrelay/wire"
)

// admission limits the handshakes of a shard, and the time that they take from running
// sessions (handshakebudget.go). It belongs to the loop. callerlimits.go has the limits of
// sources and streams.
type admission struct {
	seed uint64
	// cookies, dedup and staleCookies protect the stateless INDUCTION reply.
	cookies      *handshake.CookieGenerator
	dedup        *handshake.Dedup
	staleCookies *handshake.Limiter
	// inductions are those that were answered here, nil if no other relay may have answered
	// any: see passOnConclusion.
	inductions *handshake.Recent

	halfOpen int
	budget   budget
}

func newAdmission(cfg *Config, seed uint64) admission {
	cookies := handshake.NewCookieGenerator(cfg.Secret)
	cookies.Follow(cfg.SharedSecrets)
	var inductions *handshake.Recent
	if cfg.Relays != nil {
		inductions = new(handshake.Recent)
	}
	return admission{
		inductions:   inductions,
		seed:         seed,
		cookies:      cookies,
		dedup:        new(handshake.Dedup),
		staleCookies: handshake.NewLimiter(reinductEvery, reinductRate),
	}
}

// reinductEvery and reinductRate limit the answers to stale cookies: one per source
// address and port within libsrt's retry interval, and per shard what costs a
// fraction of a CPU in a flood.
const (
	reinductEvery = 200 * time.Millisecond
	reinductRate  = 2000 // per second
)

// conclusion opens a handshake, or finds the one that this datagram repeats.
func (s *Shard) conclusion(front uint8, d *udp.Datagram, h wire.Handshake) Counter {
	if !handshake.Valid(h) {
		return DropMalformed
	}
	if s.failsHandshakeShield(h) {
		return DropShieldHandshake
	}
	i, ss := s.sessions.byCaller(front, &d.From, h.SocketID())
	if !s.admission.cookies.Check(s.now, d.From, h.Cookie()) {
		if ss != nil {
			// Its CONCLUSION has been accepted: another INDUCTION reply, which
			// anyone who forges its address could cause, would disturb it.
			return DropCookie
		}
		if s.fronts[front].retired {
			return DropRetired
		}
		return s.answerStaleCookie(front, d, h)
	}
	switch {
	case ss != nil && ss.isn == h.ISN():
		return s.repeatedConclusion(i, ss, h)
	case ss != nil && (ss.state == StateResolving || ss.state == StateConnecting):
		// One attempt at a time: else one caller could have any number of
		// backends chosen for it, past every cap.
		return DropDuplicate
	}
	if ss == nil {
		if fate, done := s.passOnConclusion(front, d, h); done {
			return fate
		}
	}
	switch {
	case s.fronts[front].retired:
		return DropRetired
	case s.draining:
		return s.rejectStateless(front, d, h, handshake.CodeDown)
	}
	met, halfOpen := s.checkSource(d.From.IP, ss != nil)
	if met != limit.NoLimit {
		return s.refuseSource(front, d, h, met)
	}
	if drop, limited := s.checkHalfOpen(halfOpen); limited {
		return drop
	}
	if !s.admission.affords(d.From.IP, conclusionCost) {
		return DropHandshakeBudget
	}
	return s.admit(front, d, h, i, ss)
}

// refuseSource rejects a caller whose source has met a limit. What it wants is read for the
// event only.
func (s *Shard) refuseSource(front uint8, d *udp.Datagram, h wire.Handshake, met limit.Limit) Counter {
	req, _ := handshake.ParseConclusion(h)
	return s.refuse(front, d, h, met, backend.Query{StreamID: req.StreamID})
}

// admit routes a new CONCLUSION and opens a session for it, or rejects it. old, at
// index i, is the session that the caller has under the same socket ID; nil if it
// has none.
func (s *Shard) admit(front uint8, d *udp.Datagram, h wire.Handshake, i uint32, old *session) Counter {
	req, code := handshake.ParseConclusion(h)
	routed, rewritten := streamid.Routed{}, h
	if code == handshake.CodeNone {
		routed, rewritten, code = s.route(front, d, h, req)
	}
	if code == handshake.CodeNone && s.refusedByStep(routed.Stream.Publish) {
		code = handshake.CodeOverload
	}
	if code == handshake.CodeNone && s.sessions.live >= s.limits.MaxSessions {
		s.counters.inc(CountAtSessionCap)
		code = handshake.CodeOverload
	}
	if code != handshake.CodeNone {
		s.emit(Event{
			Kind: EventCallerRejected, Caller: d.From.Netip(), CallerID: req.CallerID,
			Key: routed.Key, StreamID: req.StreamID, Publish: routed.Stream.Publish, Code: code,
		})
		return s.rejectStateless(front, d, h, code)
	}
	q := backend.Query{
		Key: routed.Key, ProxyKey: routed.ProxyKey, Group: req.Group, StreamID: req.StreamID,
		Publish: routed.Stream.Publish, Caller: d.From.Netip(),
	}
	if met := s.checkStream(q.Key, q.Publish, i, old); met != limit.NoLimit {
		return s.refuse(front, d, h, met, q)
	}
	if old != nil {
		s.replaceSession(i, old)
	}
	i, ss := s.openSession(front, d, rewritten, q)
	if ss == nil {
		return DropBusy
	}
	if routed.Changed {
		s.sessions.leg(i).SetOriginal(req)
	}
	s.captureOpened(i, ss, h)
	return CountParked
}

// route applies the rules. rewritten is the CONCLUSION for the backend: h itself,
// or a copy with another stream ID.
func (s *Shard) route(front uint8, d *udp.Datagram, h wire.Handshake, req handshake.Request) (streamid.Routed, wire.Handshake, handshake.Code) {
	routed, err := streamid.Route(s.cfg.Rules.Set(), rules.Request{
		ListenPort: s.fronts[front].sock.Local().Port(), Caller: d.From.Netip(),
		StreamID: req.StreamID, HSv4: h.Version() == 4,
	})
	rewritten := h
	if err == nil && routed.Changed {
		// Not in the scratch space: a SHUTDOWN to the connection that this
		// one replaces may be made there before the leg has its copy.
		rewritten, err = handshake.RewriteStreamID(nil, h, routed.StreamID)
	}
	return routed, rewritten, streamid.Refusal(err)
}
