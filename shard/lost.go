package shard

import (
	"math"
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
)

// proof says that nobody listened at a backend's address, and which sessions
// it does not concern: times of the clock that all shards share.
type proof struct {
	// at is when it was found. Who was dialled, or accepted, after that has
	// met another process.
	at time.Duration
	// silentSince is the beginning of the silence that is the proof; never,
	// where an error quoted a secret. Whoever heard from the backend after it
	// contradicts the silence.
	silentSince time.Duration
}

const never = time.Duration(math.MaxInt64)

// concerns reports whether a session is to be told.
func (pf *proof) concerns(ss *Session, sd *side) bool {
	if ss.state == connecting {
		return sd.opening.attempt.dialled <= pf.at
	}
	return ss.begun <= pf.at && ss.backendSeen <= pf.silentSince
}

// lost takes the proof that a backend is gone, so that its callers connect
// elsewhere now instead of waiting for their own timeout. It tells the other
// shards, for only one of them may have the proof: the kernel reports to the
// socket whose datagram met the closed port, and hosts limit their reports.
func (s *Shard) lost(p *peer, pf proof) {
	if !s.condemn(p, pf) {
		return
	}
	s.counters.inc(BackendsLost)
	s.emit(Event{Kind: BackendGone, Backend: p.id, Address: p.addr.Netip()})
	s.cfg.Balancer.Unreachable(p.id, true)
	at := p.addr
	for _, other := range s.others {
		// One that has no room finds out by itself.
		other.inbox.postReserved(func(s *Shard) { s.lostElsewhere(at, pf) })
	}
}

// lostElsewhere takes another shard's proof.
func (s *Shard) lostElsewhere(at addr.AddrPort, pf proof) {
	if p := s.peers[at]; p != nil {
		s.condemn(p, pf)
	}
}

// condemn has the sessions of a lost backend ended by the next turns' slices,
// those that there are now. False: they are being told already.
//
// While its handshakes wait for other backends, each of their datagrams proves
// it again; once per retry is enough.
func (s *Shard) condemn(p *peer, pf proof) bool {
	if p.gone != 0 && s.now-p.gone < handshake.LegRetryInterval {
		return false
	}
	p.gone, p.proof = s.now, pf
	p.cookies = nil // the next process there has others
	s.unsuspect(p)
	p.condemned = p.first
	if !slices.Contains(s.dying, p) {
		s.dying = append(s.dying, p)
	}
	return true
}

// endLost ends the next sessions of lost backends and returns how many more
// this turn may end.
func (s *Shard) endLost() (left int) {
	left = endsPerTurn
	for len(s.dying) > 0 && left > 0 {
		p := s.dying[0]
		for ; p.condemned != 0 && left > 0; left-- {
			i := p.condemned - 1
			ss, sd := s.sessions.at(i), s.sessions.side(i)
			p.condemned = sd.next
			switch {
			case !p.proof.concerns(ss, sd):
			case ss.state == established:
				s.end(i, ss, BackendLost)
			case ss.state == connecting:
				s.askAnother(i, ss, backend.Lost)
			}
		}
		if p.condemned == 0 {
			s.dying = slices.Delete(s.dying, 0, 1)
		}
	}
	return left
}
