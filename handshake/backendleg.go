package handshake

import (
	"net/netip"
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Timing of the backend leg. A caller gives up 3 s after its first INDUCTION
// (SRTO_CONNTIMEO); the timeout leaves it time to receive the rejection.
const (
	LegRetryInterval     = 250 * time.Millisecond  // as libsrt's callers retry
	LegTimeout           = 2200 * time.Millisecond // counted from the first CONCLUSION
	BacklogRetryInterval = 100 * time.Millisecond  // a full accept queue drains quickly
	// CookieTTL is how long a backend's cookie is reused for other callers. A
	// listener derives it from its peer's address, here the relay's, and from
	// the current minute (gosrt: 64 s), and accepts that of the previous
	// minute as well.
	CookieTTL = 55 * time.Second
	// AnswerDeadline is the age of a handshake by which its caller must have
	// an answer; later it has given up.
	AnswerDeadline = 2800 * time.Millisecond
	// ResponseTTL is how long a response is replayed. No connect timeout in
	// use is longer.
	ResponseTTL = 10 * time.Second
	// RejectionTTL is how long a rejection is replayed: SRTO_CONNTIMEO.
	RejectionTTL = 3 * time.Second
	// duplicateWindow is the time within which a CONCLUSION with a known
	// timestamp is a duplicate made by the network. No caller retries sooner,
	// and every retry of libsrt bears a new timestamp.
	duplicateWindow = 200 * time.Millisecond
)

// Phase is the state of a BackendLeg.
type Phase uint8

// The phases of a BackendLeg:
//
//	Resolving --Dial--> Induction --INDUCTION reply--> Conclusion --response--> Connected
//	    |                   |    ^---cookie refused-----   |
//	    +-------------------+----Reject, rejection---------+----> Rejected
//
// DialKnown goes from Resolving to Conclusion.
const (
	PhaseResolving  Phase = iota // no backend is chosen yet
	PhaseInduction               // the relay's INDUCTION has been sent
	PhaseConclusion              // the caller's CONCLUSION has been sent
	PhaseConnected               // the backend accepted; its response is kept
	PhaseRejected                // a rejection is kept
)

// Outcome says what a backend's handshake did to the leg.
type Outcome uint8

// Outcomes of BackendLeg.Reply.
const (
	OutcomeIgnored    Outcome = iota // it answers nothing that was sent
	OutcomeDuplicate                 // it repeats an answer
	OutcomeProgressed                // the leg goes on; there may be a datagram to send
	OutcomeAnswered                  // the phase is Connected or Rejected: send what Replay returns
	OutcomeRefused                   // the backend cannot take the caller: another may be dialled
)

// BackendLeg is the relay's handshake with a backend on behalf of one caller.
// It belongs to one shard, and owns copies of the CONCLUSION and the answer.
type BackendLeg struct {
	phase Phase
	// invalidReply says that the backend sent something that answers nothing.
	// At the deadline the caller is then rejected with CodeBadGateway.
	invalidReply bool
	caller       netip.Addr
	backend      netip.Addr
	nonce        Nonce
	cookie       uint32 // the backend's
	cookieCached bool   // cookie comes from another leg; it may be stale
	cookieSent   bool   // the CONCLUSION has been sent with a cached cookie
	backlog      Code   // CodeBacklog once the backend has sent it
	refusal      Code   // the last rejection that allows failover, of any backend

	conclusion *pool.Buffer
	original   *Request    // the caller's request, if conclusion was rewritten
	retries    retryFilter // conclusion is the last one accepted
	response   *pool.Buffer
	answeredAt time.Duration // when response was made

	deadline time.Duration
	retry    time.Duration
	sends    int // datagrams of the present phase
}

// Open keeps a copy of a caller's CONCLUSION and starts the timeout of the leg.
func (l *BackendLeg) Open(now time.Duration, h wire.Handshake, caller netip.Addr) {
	*l = BackendLeg{
		caller:     caller,
		conclusion: pool.Get(h),
		retries:    retryFilter{h.Packet().Timestamp(), now},
		deadline:   now + LegTimeout,
	}
}

// Close returns the kept bytes to the pool. The leg may be opened again.
func (l *BackendLeg) Close() {
	release(l.conclusion)
	release(l.response)
	*l = BackendLeg{}
}

func release(b *pool.Buffer) {
	if b != nil {
		pool.Put(b)
	}
}

// Opened reports whether the leg has a CONCLUSION, and has not been closed.
func (l *BackendLeg) Opened() bool { return l.conclusion != nil }

// Phase returns the phase of the leg.
func (l *BackendLeg) Phase() Phase { return l.phase }

// Pending reports whether the backend's answer is still awaited.
func (l *BackendLeg) Pending() bool { return l.phase < PhaseConnected }

// MayAccept reports whether the backend has been sent the CONCLUSION and has not
// answered it.
func (l *BackendLeg) MayAccept() bool {
	return l.Pending() && (l.phase == PhaseConclusion || l.cookieSent)
}

// AcceptRetry replaces the kept CONCLUSION by a retry of the same attempt, whose
// timestamp is newer. It returns false for a duplicate made by the network.
//
// It also returns false for a retry that asks for another stream or group: the
// backend was chosen, and the caller admitted, for the first request.
func (l *BackendLeg) AcceptRetry(now time.Duration, h wire.Handshake) bool {
	seen := l.retries
	if !seen.accept(now, h, false) {
		return false
	}
	fresh, ok := l.rewriteRetry(h)
	if !ok {
		return false
	}
	release(l.conclusion)
	l.conclusion, l.retries = fresh, seen
	return true
}

// Conclusion returns the CONCLUSION that the backend is sent, as it is before
// the cookie, the peer IP and the timestamp are patched. It is valid until the
// next call.
func (l *BackendLeg) Conclusion() wire.Handshake { return wire.Handshake(l.conclusion.Bytes()) }

// Dial starts the handshake with a backend. The INDUCTION, which is due at
// once, bears the random nonce: who answers or quotes it has seen the datagram.
func (l *BackendLeg) Dial(now time.Duration, backend netip.Addr, nonce Nonce) {
	l.phase, l.backend, l.nonce = PhaseInduction, backend, nonce
	l.retry, l.sends = now, 0
	l.invalidReply, l.backlog, l.cookieCached, l.cookieSent = false, CodeNone, false, false // of another backend
}

// DialKnown is Dial with the cookie that the backend gave another leg from the
// same local port at most CookieTTL ago: the CONCLUSION is due at once. If the
// backend refuses the cookie, by silence (libsrt) or with CodeRogue (gosrt), the
// leg starts over with an INDUCTION.
func (l *BackendLeg) DialKnown(now time.Duration, backend netip.Addr, nonce Nonce, cookie uint32) {
	l.Dial(now, backend, nonce)
	l.phase, l.cookie, l.cookieCached, l.cookieSent = PhaseConclusion, cookie, true, true
}

// FreshCookie returns the cookie of the backend's last INDUCTION reply; false if
// there was none.
func (l *BackendLeg) FreshCookie() (cookie uint32, ok bool) {
	return l.cookie, l.phase == PhaseConclusion && !l.cookieCached
}

// Due returns when Tick is to be called: for the next datagram or at the deadline.
func (l *BackendLeg) Due() time.Duration {
	if l.phase == PhaseResolving {
		return l.deadline
	}
	return min(l.retry, l.deadline)
}

// ExtendDeadline moves the deadline by a time during which the relay did not
// run, but not beyond latest.
func (l *BackendLeg) ExtendDeadline(by, latest time.Duration) {
	l.deadline = max(l.deadline, min(l.deadline+by, latest))
}

// Tick appends the datagram to the backend that is due at now, if any. A code
// other than CodeNone says that the deadline has passed: the owner then rejects
// the caller with it.
func (l *BackendLeg) Tick(now time.Duration, b []byte) ([]byte, Code) {
	if now >= l.deadline {
		return b, l.FailureCode()
	}
	if l.phase == PhaseResolving || now < l.retry {
		return b, CodeNone
	}
	if l.cookieCached && l.sends > 0 {
		l.restartInduction()
	}
	return l.appendNext(now, b), CodeNone
}

// restartInduction asks the backend for a new cookie.
func (l *BackendLeg) restartInduction() { l.phase, l.cookieCached, l.sends = PhaseInduction, false, 0 }

// FailureCode returns the code to reject the caller with when the leg is given
// up: that of a backend's rejection, if there was one.
func (l *BackendLeg) FailureCode() Code {
	switch {
	case l.refusal != CodeNone:
		return l.refusal
	case l.backlog != CodeNone:
		return l.backlog
	case l.invalidReply:
		return CodeBadGateway
	}
	return CodeDown
}

// Retries returns how often the datagram of the present phase was sent again.
func (l *BackendLeg) Retries() int { return max(l.sends-1, 0) }

// appendNext appends the datagram of the present phase.
func (l *BackendLeg) appendNext(now time.Duration, b []byte) []byte {
	l.retry = now + LegRetryInterval
	l.sends++
	if l.phase == PhaseInduction {
		return AppendInduction(b, l.Conclusion().SocketID(), l.nonce, l.backend)
	}
	n := len(b)
	b = append(b, l.conclusion.Bytes()...)
	h := wire.Handshake(b[n:])
	h.SetCookie(l.cookie)
	h.SetPeerIP(l.backend)
	// The listener derives its peer's clock from this timestamp: a stale one
	// would add its age to the stream's latency.
	advance(h.Packet(), now-l.retries.at)
	return b
}

// advance adds elapsed to a packet's timestamp, which wraps.
func advance(p wire.Packet, elapsed time.Duration) {
	p.SetTimestamp(p.Timestamp() + uint32(elapsed.Microseconds()))
}

// Replay returns what is needed to repeat the answer of a leg that is Connected
// or Rejected, and closes the leg.
func (l *BackendLeg) Replay() *Replay {
	r := &Replay{answer: l.response, stampedAt: l.answeredAt, retries: l.retries}
	l.response = nil
	l.Close()
	return r
}

// Code returns the code of a leg that is Rejected, else CodeNone.
func (l *BackendLeg) Code() Code {
	if l.phase != PhaseRejected {
		return CodeNone
	}
	return Code(wire.Handshake(l.response.Bytes()).Type())
}

// MatchesInduction reports whether quoted, the part of a datagram that an ICMP
// error returned, is this leg's INDUCTION: an outsider cannot guess the nonce.
// A quoted CONCLUSION proves nothing, because its cookie is the same for all
// callers, and one of them may have read it in its own response.
func (l *BackendLeg) MatchesInduction(quoted []byte) bool {
	h, ok := wire.AsHandshake(quoted)
	return ok && l.Pending() && l.phase != PhaseResolving && h.Type() == wire.HandshakeInduction && h.ISN() == uint32(l.nonce)
}
