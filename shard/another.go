package shard

import (
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
)

// attemptFor is how long a backend may take over a handshake before another
// is asked for: three retries, and a third of what the caller
// allows for all.
const attemptFor = 3 * handshake.LegRetry

// attempt is a pending handshake's time with its present backend.
type attempt struct {
	dialled time.Duration
	until   time.Duration
	asked   bool // another backend has been asked for
	awaits  bool // ... and the answer is on its way
	lost    bool // this one is known to be gone
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
	s.askAnother(i, ss, false)
}

// askAnother asks the balancer for a backend that this caller has not tried.
// lost says that the present one is known to be gone.
func (s *Shard) askAnother(i uint32, ss *Session, lost bool) {
	sd := s.sessions.side(i)
	o := sd.opening
	o.attempt.asked, o.attempt.lost = true, lost
	if o.attempt.awaits {
		return
	}
	if !o.noteTried(sd.peer.id) {
		s.giveUpIfLost(i, ss)
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
		o.attempt.asked, o.attempt.until = false, s.now+handshake.LegRetry // too busy, not unwilling
		s.giveUpIfLost(i, ss)
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
		s.release(t.Lease)
		return
	}
	sd := s.sessions.side(i)
	o := sd.opening
	o.attempt.awaits = false
	if err != nil {
		s.giveUpIfLost(i, ss)
		return
	}
	s.counters.inc(Failovers)
	if o.exchange.Phase() == handshake.Inducting && !o.attempt.lost {
		// Not a word in all that time: others need not try it first.
		s.cfg.Balancer.Unreachable(sd.peer.id, false)
	}
	s.giveUpLeg(ss, o)
	s.unkeyBack(i, ss)
	s.leavePeer(i, ss)
	s.releaseLease(ss)
	ss.lease = t.Lease
	s.dial(i, ss, t)
}

// giveUpIfLost rejects a caller whose backend is gone and who has no other.
func (s *Shard) giveUpIfLost(i uint32, ss *Session) {
	if s.sessions.side(i).opening.attempt.lost {
		s.fail(i, ss, handshake.Down)
	}
}
