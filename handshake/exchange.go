package handshake

import (
	"math"
	"net/netip"
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Timing of the second leg. A caller gives up 3 s after its first INDUCTION
// (SRTO_CONNTIMEO), so the deadline leaves it time to hear the rejection.
const (
	LegRetry     = 250 * time.Millisecond  // as libsrt's own callers retry
	LegDeadline  = 2200 * time.Millisecond // from the first CONCLUSION
	BacklogRetry = 100 * time.Millisecond  // a full accept queue drains fast
	// CookieKept is how long a backend's cookie may serve for other callers. A
	// listener bakes it from its peer's address, which is the relay's, and the
	// minute, and takes that of the present and of the minute before; gosrt's
	// minute has 64 s.
	CookieKept = 55 * time.Second
	// LastAnswer is the age of a handshake after which its caller has given up.
	LastAnswer = 2800 * time.Millisecond
	// ResponseKept is how long a response is replayed: past every connect
	// timeout in use, after which no caller can still be waiting for it.
	ResponseKept = 10 * time.Second
	// RejectionKept covers the caller's 3 s connect timeout.
	RejectionKept = 3 * time.Second
	// networkCopy is the age below which a CONCLUSION with a known timestamp
	// is a copy made by the network. No caller retries sooner, and every
	// retry of libsrt's bears a new timestamp.
	networkCopy = 200 * time.Millisecond
)

// Phase is how far an Exchange has come.
type Phase uint8

// The phases of an Exchange:
//
//	Resolving --Dial--> Inducting --INDUCTION reply--> Concluding --response--> Connected
//	    |                   |    ^---cookie refused-----   |
//	    +-------------------+----Reject, rejection---------+----> Rejected
//
// With a cookie that is known already Dial goes to Concluding.
const (
	Resolving  Phase = iota // no backend yet
	Inducting               // the relay's INDUCTION is out
	Concluding              // the caller's CONCLUSION is out
	Connected               // the backend accepted; its response is kept
	Rejected                // a rejection is kept
)

// Outcome says what a backend's handshake did to the exchange.
type Outcome uint8

// Outcomes of Exchange.Reply.
const (
	Ignored    Outcome = iota // fits nothing that was asked
	Duplicate                 // an answer that came before
	Progressed                // leg 2 goes on; there may be something to send
	Answered                  // Phase is Connected or Rejected; send what Replay returns
	Refused                   // the backend rejects for want of resources: another may be dialled
)

// Exchange carries one caller's handshake to one backend. It belongs to one
// shard; between calls it owns the copies it keeps.
type Exchange struct {
	phase Phase
	// nonsense remembers that the backend said something that fits nothing:
	// at the deadline the caller learns of a bad gateway, not of silence.
	nonsense bool
	caller   netip.Addr
	backend  netip.Addr
	nonce    Nonce
	cookie   uint32 // the backend's
	guessed  bool   // ... learnt with another exchange; it may be stale
	told     bool   // the CONCLUSION has been sent with such a cookie
	backlog  Code   // Backlog once the backend has pleaded it
	refusal  Code   // the last rejection for want of resources, of any backend

	conclusion *pool.Buffer
	asked      *Request // the caller's own, if conclusion was rewritten
	repeated   repeated // conclusion is the last one taken
	response   *pool.Buffer
	answered   time.Duration // when response came

	deadline time.Duration
	retry    time.Duration
	sends    int // leg-2 datagrams of the present phase
}

// Open keeps a caller's CONCLUSION and starts the clock of its second leg.
func (x *Exchange) Open(now time.Duration, h wire.Handshake, caller netip.Addr) {
	*x = Exchange{
		caller:     caller,
		conclusion: pool.Get(h),
		repeated:   repeated{h.Packet().Timestamp(), now},
		deadline:   now + LegDeadline,
	}
}

// Close gives the kept bytes back. The exchange may be opened again.
func (x *Exchange) Close() {
	release(x.conclusion)
	release(x.response)
	*x = Exchange{}
}

func release(b *pool.Buffer) {
	if b != nil {
		pool.Put(b)
	}
}

// Phase returns how far the exchange has come.
func (x *Exchange) Phase() Phase { return x.phase }

// Pending reports whether the backend's answer is still awaited.
func (x *Exchange) Pending() bool { return x.phase < Connected }

// Concluded reports whether the backend has been sent the CONCLUSION and has not
// answered it: it may accept at any time.
func (x *Exchange) Concluded() bool { return x.Pending() && (x.phase == Concluding || x.told) }

// Again takes another CONCLUSION of the same attempt while leg 2 is pending: a
// retry, whose fresher timestamp replaces the kept one. It returns false for a
// copy made by the network.
//
// A repeat that asks for another stream or group is refused as well: the
// backend was chosen, and the caller let in, for what it asked first.
func (x *Exchange) Again(now time.Duration, h wire.Handshake) bool {
	seen := x.repeated
	if !seen.take(now, h, false) {
		return false
	}
	fresh, ok := x.repeat(h)
	if !ok {
		return false
	}
	release(x.conclusion)
	x.conclusion, x.repeated = fresh, seen
	return true
}

// Conclusion returns the caller's CONCLUSION as the backend gets it. It is a
// view that holds until the next call.
func (x *Exchange) Conclusion() wire.Handshake { return x.kept() }

func (x *Exchange) kept() wire.Handshake { return wire.Handshake(x.conclusion.Bytes()) }

// Dial starts leg 2 with the backend. nonce is random and goes into the
// INDUCTION; what answers or quotes it has seen the datagram. The first
// datagram is due at once.
func (x *Exchange) Dial(now time.Duration, backend netip.Addr, nonce Nonce) {
	x.phase, x.backend, x.nonce = Inducting, backend, nonce
	x.retry, x.sends = now, 0
	x.nonsense, x.backlog, x.guessed, x.told = false, NoRejection, false, false // said by another
}

// DialKnown is Dial with the cookie that the backend gave another exchange from
// the same local port at most CookieKept ago: the CONCLUSION leaves at once. A
// backend that refuses the cookie, by silence as libsrt does or with Rogue as
// gosrt does, is asked for another.
func (x *Exchange) DialKnown(now time.Duration, backend netip.Addr, nonce Nonce, cookie uint32) {
	x.Dial(now, backend, nonce)
	x.phase, x.cookie, x.guessed, x.told = Concluding, cookie, true, true
}

// Learnt returns the cookie that the backend's last INDUCTION reply brought;
// false when this exchange has had none.
func (x *Exchange) Learnt() (cookie uint32, ok bool) {
	return x.cookie, x.phase == Concluding && !x.guessed
}

// Due returns when Tick has work: a retry, or the deadline.
func (x *Exchange) Due() time.Duration {
	if x.phase == Resolving {
		return x.deadline
	}
	return min(x.retry, x.deadline)
}

// Postpone moves the deadline on by a time during which the relay did not run,
// but not past latest, when the caller has given up.
func (x *Exchange) Postpone(by, latest time.Duration) {
	x.deadline = max(x.deadline, min(x.deadline+by, latest))
}

// Tick appends the leg-2 datagram that is due at now, if any. A code other
// than NoRejection means that the deadline has passed; the owner rejects.
func (x *Exchange) Tick(now time.Duration, b []byte) ([]byte, Code) {
	if now >= x.deadline {
		return b, x.Verdict()
	}
	if x.phase == Resolving || now < x.retry {
		return b, NoRejection
	}
	if x.guessed && x.sends > 0 {
		x.induct()
	}
	return x.appendLeg(now, b), NoRejection
}

// induct begins leg 2 again at its beginning, for the cookie was no good.
func (x *Exchange) induct() { x.phase, x.guessed, x.sends = Inducting, false, 0 }

// Verdict is what the caller is told when leg 2 is given up: what a backend
// said, if any said something.
func (x *Exchange) Verdict() Code {
	switch {
	case x.refusal != NoRejection:
		return x.refusal
	case x.backlog != NoRejection:
		return x.backlog
	case x.nonsense:
		return BadGateway
	}
	return Down
}

// Retries returns how often the present leg-2 datagram was sent again.
func (x *Exchange) Retries() int { return max(x.sends-1, 0) }

// appendLeg appends the leg-2 datagram of the present phase.
func (x *Exchange) appendLeg(now time.Duration, b []byte) []byte {
	x.retry = now + LegRetry
	x.sends++
	if x.phase == Inducting {
		return AppendInduction(b, x.kept().SocketID(), x.nonce, x.backend)
	}
	n := len(b)
	b = append(b, x.conclusion.Bytes()...)
	h := wire.Handshake(b[n:])
	h.SetCookie(x.cookie)
	h.SetPeerIP(x.backend)
	// The listener takes its peer's clock from this timestamp: an old copy
	// with an old time would add its age to the stream's latency.
	advance(h.Packet(), now-x.repeated.at)
	return b
}

// advance adds elapsed to a packet's timestamp, which wraps.
func advance(p wire.Packet, elapsed time.Duration) {
	p.SetTimestamp(p.Timestamp() + uint32(elapsed.Microseconds()))
}

// Reply takes a handshake that the backend addressed to the caller's socket.
// If the outcome is Progressed, b has what to send to the backend appended.
func (x *Exchange) Reply(now time.Duration, h wire.Handshake, b []byte) ([]byte, Outcome) {
	switch {
	case x.phase == Resolving:
		return b, Ignored
	case !x.Pending():
		return b, Duplicate
	case x.guessed && Code(h.Type()) == Rogue && h.ISN() == x.kept().ISN():
		x.induct()
		return x.appendLeg(now, b), Progressed
	case h.Type().IsRejection():
		return b, x.rejected(now, h)
	case h.Type() == wire.Induction && x.phase == Concluding:
		return b, Duplicate
	case IsInductionReply(h, x.nonce):
		x.phase, x.cookie, x.sends = Concluding, h.Cookie(), 0
		return x.appendLeg(now, b), Progressed
	case h.Type() == wire.Conclusion && (x.phase == Concluding || x.told) && x.accepted(h):
		x.accept(now, h)
		return b, Answered
	}
	x.nonsense = true
	return b, Ignored
}

// Nonsense notes that the backend sent something else than a handshake. Of a
// backend that goes on to accept it was early data, which makes no difference.
func (x *Exchange) Nonsense() { x.nonsense = true }

// accepted reports whether h is a response that the caller would take: its own
// ISN echoed, a version, a socket ID, and for HSv5 extensions.
func (x *Exchange) accepted(h wire.Handshake) bool {
	return h.ISN() == x.kept().ISN() && h.SocketID() != 0 &&
		(h.Version() == 4 || h.Version() == 5 && len(h) > wire.HandshakeSize)
}

// rejected takes the backend's rejection. A full accept queue drains, so
// Backlog is asked again until the deadline. What speaks of the backend itself
// is kept while another may be asked; all else is the caller's to know.
func (x *Exchange) rejected(now time.Duration, h wire.Handshake) Outcome {
	if asked := x.phase == Inducting && h.ISN() == uint32(x.nonce); !asked && h.ISN() != x.kept().ISN() {
		x.nonsense = true
		return Ignored
	}
	if Code(h.Type()) == Backlog {
		x.backlog, x.retry = Backlog, now+BacklogRetry
		return Progressed
	}
	if code := Code(h.Type()); !code.OfBackend() {
		x.Reject(now, code)
		return Answered
	} else {
		x.refusal, x.retry = code, math.MaxInt64 // it is asked no more
	}
	return Refused
}

// Replay hands over what is kept of an exchange that is Connected or Rejected,
// and closes it: a caller is answered for far longer than it waits.
func (x *Exchange) Replay() *Replay {
	r := &Replay{answer: x.response, stamped: x.answered, repeated: x.repeated}
	x.response = nil
	x.Close()
	return r
}

// Code returns the rejection of an exchange that is Rejected.
func (x *Exchange) Code() Code {
	if x.phase != Rejected {
		return NoRejection
	}
	return Code(wire.Handshake(x.response.Bytes()).Type())
}

// Proof reports whether quoted, the part of a datagram that an ICMP error
// returned, is this exchange's INDUCTION: an outsider cannot guess the nonce.
// The CONCLUSION proves nothing. Its cookie is the same for all callers, and
// one of them may have read it in its own response.
func (x *Exchange) Proof(quoted []byte) bool {
	h, ok := wire.AsHandshake(quoted)
	return ok && x.Pending() && x.phase != Resolving && h.Type() == wire.Induction && h.ISN() == uint32(x.nonce)
}
