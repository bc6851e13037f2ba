package shard

import (
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
)

// attemptFor is how long a backend may take over a handshake before another
// is asked for: three retries, and a third of what the caller
// allows for all.
const attemptFor = 3 * handshake.LegRetryInterval

// attempt is a pending handshake's time with its present backend.
type attempt struct {
	dialled time.Duration
	until   time.Duration
	asked   bool // another backend has been asked for
	awaits  bool // ... and the answer is on its way
	// over is why the present one will not answer any more: it is Lost, or has
	// Refused. Unused while it may.
	over backend.Fate
}

// fate is what the balancer is told of the present backend when the handshake
// goes on, or ends, without it.
func (a *attempt) fate(now time.Duration) backend.Fate {
	if a.over == backend.Unused && now >= a.until {
		return backend.Silent
	}
	return a.over
}

// considerAnother asks for another backend when the present one has had its
// time. Leg 2 goes on meanwhile: the answer may be that there is no other, and
// a slow backend is better than none.
func (s *Shard) considerAnother(i uint32, ss *Session) {
	if ss.state != connecting {
		return
	}
	a := &s.sessions.side(i).opening.attempt
	if a.asked || s.now < a.until {
		return
	}
	s.askAnother(i, ss, backend.Unused)
}

// askAnother asks the balancer for a backend that this caller has not tried.
// over says why the present one will not answer, Unused if it may.
func (s *Shard) askAnother(i uint32, ss *Session, over backend.Fate) {
	sd := s.sessions.side(i)
	o := sd.opening
	o.attempt.asked, o.attempt.over = true, over
	if o.attempt.awaits {
		return
	}
	if !o.noteTried(sd.peer.id) {
		s.giveUpIfOver(i, ss)
		return
	}
	gen := ss.gen
	q := backend.Query{
		Key: sd.key, Spelled: o.spelled, Group: ss.group, StreamID: sd.streamID,
		Publish: ss.publish, Caller: ss.caller.Netip(), Tried: o.tried,
	}
	ok := s.cfg.Balancer.Resolve(q, func(t backend.Target, err error) bool {
		return s.inbox.post(func(s *Shard) { s.another(i, gen, t, err) })
	})
	o.attempt.awaits = ok
	if !ok {
		o.attempt.asked, o.attempt.until = false, s.now+handshake.LegRetryInterval // too busy, not unwilling
		s.giveUpIfOver(i, ss)
	}
}

// noteTried enters a backend among those tried; false when there is no room
// for another attempt.
func (o *opening) noteTried(id backend.ID) bool {
	for k := range o.tried {
		if o.tried[k] == "" || o.tried[k] == id {
			o.tried[k] = id
			return true
		}
	}
	return false
}

// another takes the balancer's answer. The present backend may have spoken, or
// the session be gone, while it was on its way.
func (s *Shard) another(i, gen uint32, t backend.Target, err error) {
	ss := s.sessions.at(i)
	if ss.gen != gen || ss.state != connecting {
		s.reportOutcome(backend.Outcome{Lease: t.Lease})
		return
	}
	sd := s.sessions.side(i)
	o := sd.opening
	o.attempt.awaits = false
	if err != nil {
		s.giveUpIfOver(i, ss)
		return
	}
	s.counters.inc(Failovers)
	if o.exchange.Phase() == handshake.PhaseInduction && o.attempt.over == backend.Unused {
		// Not a word in all that time: others need not try it first.
		s.cfg.Balancer.Unreachable(sd.peer.id, false)
	}
	s.giveUpLeg(ss, o)
	s.unkeyBack(i, ss)
	s.leavePeer(i, ss)
	s.releaseLease(ss, o.attempt.fate(s.now), 0)
	ss.lease = t.Lease
	s.dial(i, ss, t)
}

// giveUpIfOver rejects a caller whose backend will not answer and who has no
// other. What a backend said of itself, the caller is told.
func (s *Shard) giveUpIfOver(i uint32, ss *Session) {
	if o := s.sessions.side(i).opening; o.attempt.over != backend.Unused {
		s.fail(i, ss, o.exchange.FailureCode(), o.attempt.over)
	}
}
