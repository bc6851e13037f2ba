package shard

import (
	"math"
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
)

// attemptTimeout is how long a backend may take for a handshake before another is
// asked for.
const attemptTimeout = 3 * handshake.LegRetryInterval

// attempt is the state of a pending handshake with its present backend.
type attempt struct {
	dialedAt     time.Duration
	deadline     time.Duration
	askedAnother bool // another backend was asked for
	awaiting     bool // the resolver's answer is pending
	// failure is why the present backend will not answer any more: Lost or
	// Refused. It is Unused while it may answer.
	failure backend.Fate
}

// fate is the outcome of the lease when the handshake goes on, or ends, without the
// present backend.
func (a *attempt) fate(now time.Duration) backend.Fate {
	if a.failure == backend.FateUnused && now >= a.deadline {
		return backend.FateSilent
	}
	return a.failure
}

// considerFailover asks for another backend when the present attempt has timed out.
// The leg goes on meanwhile: there may be no other backend, and a slow one is better
// than none.
func (s *Shard) considerFailover(i uint32, ss *session) {
	if ss.state != StateConnecting {
		return
	}
	a := &s.sessions.cold(i).pending.attempt
	if a.askedAnother || s.now < a.deadline {
		return
	}
	s.requestFailover(i, ss, backend.FateUnused)
}

// requestFailover asks the resolver for a backend that this caller has not tried.
// failure says why the present one will not answer; it is Unused if it may.
func (s *Shard) requestFailover(i uint32, ss *session, failure backend.Fate) {
	cold := s.sessions.cold(i)
	o := cold.pending
	o.attempt.askedAnother, o.attempt.failure = true, failure
	if o.attempt.awaiting {
		return
	}
	if !o.noteTried(cold.peer.id) {
		s.rejectIfFailed(i, ss)
		return
	}
	gen := ss.gen
	ok := s.cfg.Resolver.Resolve(s.query(i, ss), func(t backend.Target, err error) bool {
		return s.inbox.post(func(s *Shard) { s.onOtherBackend(i, gen, t, err) })
	})
	o.attempt.awaiting = ok
	if !ok {
		o.attempt.askedAnother, o.attempt.deadline = false, s.now+handshake.LegRetryInterval // the resolver is busy
		s.rejectIfFailed(i, ss)
	}
}

// noteTried adds a backend to those tried; false if no further attempt is allowed.
func (o *pendingHandshake) noteTried(id backend.ID) bool {
	for k := range o.tried {
		if o.tried[k] == "" || o.tried[k] == id {
			o.tried[k] = id
			return true
		}
	}
	return false
}

// onOtherBackend handles the resolver's answer. Meanwhile the present backend may have
// answered, or the session may have been freed.
func (s *Shard) onOtherBackend(i, gen uint32, t backend.Target, err error) {
	ss := s.sessions.at(i)
	if ss.gen != gen || ss.state != StateConnecting {
		s.outcomes.report(backend.Outcome{Lease: t.Lease})
		return
	}
	if err == nil && s.holdsDial(addr.From(t.Addr), ss.callerID) {
		s.held = append(s.held, func(s *Shard) { s.onOtherBackend(i, gen, t, nil) })
		return
	}
	cold := s.sessions.cold(i)
	o := cold.pending
	o.attempt.awaiting = false
	if err != nil {
		s.rejectIfFailed(i, ss)
		return
	}
	s.counters.inc(CountFailovers)
	if o.leg.Phase() == handshake.PhaseInduction && o.attempt.failure == backend.FateUnused {
		// The backend has sent nothing: other callers need not try it first.
		s.cfg.Resolver.Unreachable(cold.peer.id, false)
	}
	s.orphanLeg(ss, o)
	s.sessions.unkeyBack(i, ss)
	s.peers.leave(&s.sessions, i, ss)
	s.releaseLease(ss, o.attempt.fate(s.now), 0)
	ss.lease = t.Lease
	s.dial(i, ss, t)
}

// rejectIfFailed rejects a caller whose backend will not answer, when there is no
// other. If a backend sent a rejection, the caller gets its code.
func (s *Shard) rejectIfFailed(i uint32, ss *session) {
	if o := s.sessions.cold(i).pending; o.attempt.failure != backend.FateUnused {
		s.rejectWith(i, ss, o.leg.FailureCode(), o.attempt.failure)
	}
}

// proof is the proof that nobody listened at a backend's address at some time. Its
// times are of the clock that all shards share.
type proof struct {
	// at is when it was found. Sessions that were dialled or accepted later
	// belong to another process.
	at time.Duration
	// silentSince is when the silence began that is the proof; never, if the
	// proof is a quoted nonce. It does not apply to sessions that have received
	// something from the backend since.
	silentSince time.Duration
}

const never = time.Duration(math.MaxInt64)

// appliesTo reports whether a session ends by this proof.
func (pf *proof) appliesTo(ss *session, cold *coldState) bool {
	if ss.state == StateConnecting {
		return cold.pending.attempt.dialedAt <= pf.at
	}
	return ss.establishedAt <= pf.at && ss.backendSeen <= pf.silentSince
}

// backendLost ends the sessions of a backend that is proven dead, so that their
// callers connect again at once instead of at their own timeout. It tells the other
// shards, because they may have no proof: the kernel reports an ICMP error to the
// socket that sent the datagram, and hosts limit their ICMP errors.
func (s *Shard) backendLost(p *peer, pf proof) {
	if !s.beginEnding(p, pf) {
		return
	}
	s.counters.inc(CountBackendsLost)
	s.emit(Event{Kind: EventBackendLost, Backend: p.id, Address: p.addr.Netip()})
	s.cfg.Resolver.Unreachable(p.id, true)
	at := p.addr
	for _, other := range s.others {
		// A shard whose inbox is full finds out by itself.
		other.inbox.postReserved(func(s *Shard) { s.backendLostElsewhere(at, pf) })
	}
}

// backendLostElsewhere handles another shard's proof.
func (s *Shard) backendLostElsewhere(at addr.AddrPort, pf proof) {
	if p := s.peers.byAddr[at]; p != nil {
		s.beginEnding(p, pf)
	}
}

// beginEnding has the present sessions of a lost backend ended in slices by the next
// turns; false if that has begun already.
//
// While the backend's handshakes wait for other backends, each of their datagrams
// may prove it again; once per retry is enough.
func (s *Shard) beginEnding(p *peer, pf proof) bool {
	if p.lostAt != 0 && s.now-p.lostAt < handshake.LegRetryInterval {
		return false
	}
	p.lostAt, p.proof = s.now, pf
	p.cookies = nil // the next process there has others
	s.peers.clearSuspicion(p)
	p.nextToEnd = p.firstSession
	if !slices.Contains(s.peers.ending, p) {
		s.peers.ending = append(s.peers.ending, p)
	}
	return true
}

// endLostSlice ends the next sessions of lost backends and returns how many more
// sessions this turn may end.
func (s *Shard) endLostSlice() (left int) {
	left = endsPerTurn
	for len(s.peers.ending) > 0 && left > 0 {
		p := s.peers.ending[0]
		for ; p.nextToEnd != 0 && left > 0; left-- {
			i := p.nextToEnd - 1
			ss, cold := s.sessions.at(i), s.sessions.cold(i)
			p.nextToEnd = cold.next
			s.refresh(i, ss)
			switch {
			case !p.proof.appliesTo(ss, cold):
			case ss.state == StateEstablished:
				s.endSession(i, ss, CauseBackendLost)
			case ss.state == StateConnecting:
				s.requestFailover(i, ss, backend.FateLost)
			}
		}
		if p.nextToEnd == 0 {
			s.peers.ending = slices.Delete(s.peers.ending, 0, 1)
		}
	}
	return left
}
