package handshake

import (
	"net/netip"
	"time"

	"srtrelay/internal/message"
	"srtrelay/pool"
	"srtrelay/wire"
)

// What another process needs to go on with a handshake, as messages. A field is never
// renumbered; shard/testdata has a snapshot of each version.

// Fields of a BackendLeg. Its addresses are those of the session.
const (
	legPhase        message.Number = 1
	legInvalidReply message.Number = 2
	legNonce        message.Number = 3
	legCookie       message.Number = 4
	legCookieCached message.Number = 5
	legCookieSent   message.Number = 6
	legBacklog      message.Number = 7
	legRefusal      message.Number = 8
	legConclusion   message.Number = 9
	legOriginal     message.Number = 10
	legRetries      message.Number = 11
	legDeadline     message.Number = 12
	legRetry        message.Number = 13
	legSends        message.Number = 14
)

// AppendSnapshot appends a leg whose answer is pending.
func (l *BackendLeg) AppendSnapshot(b []byte, c message.Clock) []byte {
	b = message.AppendUint(b, legPhase, l.phase)
	b = message.AppendBool(b, legInvalidReply, l.invalidReply)
	b = message.AppendFixed32(b, legNonce, uint32(l.nonce))
	b = message.AppendFixed32(b, legCookie, l.cookie)
	b = message.AppendBool(b, legCookieCached, l.cookieCached)
	b = message.AppendBool(b, legCookieSent, l.cookieSent)
	b = message.AppendUint(b, legBacklog, l.backlog)
	b = message.AppendUint(b, legRefusal, l.refusal)
	b = message.AppendBytes(b, legConclusion, l.conclusion.Bytes())
	if l.original != nil {
		var mark int
		b, mark = message.Open(b, legOriginal)
		b = message.Close(l.original.appendSnapshot(b), mark)
	}
	b, mark := message.Open(b, legRetries)
	b = message.Close(l.retries.appendSnapshot(b, c), mark)
	b = message.AppendTime(b, legDeadline, c, l.deadline)
	b = message.AppendTime(b, legRetry, c, l.retry)
	return message.AppendUint(b, legSends, uint64(l.sends))
}

// Restore reads what AppendSnapshot has appended, for a caller and the backend that
// was dialled, if any. After an error the leg is zero.
func (l *BackendLeg) Restore(b []byte, c message.Clock, caller, backend netip.Addr) error {
	*l = BackendLeg{caller: caller, backend: backend}
	var conclusion []byte
	r := message.Read(b)
	for r.Next() {
		switch r.Number() {
		case legPhase:
			if l.phase = message.Uint[Phase](&r); !l.Pending() {
				r.Refuse("no phase of a pending leg")
			}
		case legInvalidReply:
			l.invalidReply = r.Bool()
		case legNonce:
			l.nonce = message.Uint[Nonce](&r)
		case legCookie:
			l.cookie = message.Uint[uint32](&r)
		case legCookieCached:
			l.cookieCached = r.Bool()
		case legCookieSent:
			l.cookieSent = r.Bool()
		case legBacklog:
			l.backlog = message.Uint[Code](&r)
		case legRefusal:
			l.refusal = message.Uint[Code](&r)
		case legConclusion:
			conclusion = r.Bytes()
		case legOriginal:
			l.original = new(Request)
			r.Fail(l.original.restore(r.Bytes()))
		case legRetries:
			r.Fail(l.retries.restore(r.Bytes(), c))
		case legDeadline:
			l.deadline = r.Time(c)
		case legRetry:
			l.retry = r.Time(c)
		case legSends:
			l.sends = int(message.Uint[uint32](&r))
		}
	}
	if !sendable(conclusion) || !Valid(wire.Handshake(conclusion)) {
		r.Refuse("no CONCLUSION")
	}
	if err := r.Err(); err != nil {
		*l = BackendLeg{}
		return err
	}
	l.conclusion = pool.Get(conclusion)
	return nil
}

// sendable reports whether b is a handshake that fits the space for one datagram.
func sendable(b []byte) bool {
	_, ok := wire.AsHandshake(b)
	return ok && len(b) <= wire.MaxPayload
}

// Fields of a Request.
const (
	requestCallerID message.Number = 1
	requestISN      message.Number = 2
	requestStreamID message.Number = 3
	requestGroup    message.Number = 4
)

func (q *Request) appendSnapshot(b []byte) []byte {
	b = message.AppendFixed32(b, requestCallerID, q.CallerID)
	b = message.AppendFixed32(b, requestISN, q.ISN)
	b = message.AppendBytes(b, requestStreamID, q.StreamID)
	return message.AppendFixed32(b, requestGroup, q.Group)
}

func (q *Request) restore(b []byte) error {
	r := message.Read(b)
	for r.Next() {
		switch r.Number() {
		case requestCallerID:
			q.CallerID = message.Uint[uint32](&r)
		case requestISN:
			q.ISN = message.Uint[uint32](&r)
		case requestStreamID:
			q.StreamID = r.String()
		case requestGroup:
			q.Group = message.Uint[uint32](&r)
		}
	}
	return r.Err()
}

// Fields of a retryFilter.
const (
	retryTimestamp message.Number = 1
	retryAt        message.Number = 2
)

func (f *retryFilter) appendSnapshot(b []byte, c message.Clock) []byte {
	b = message.AppendFixed32(b, retryTimestamp, f.timestamp)
	return message.AppendTime(b, retryAt, c, f.at)
}

func (f *retryFilter) restore(b []byte, c message.Clock) error {
	r := message.Read(b)
	for r.Next() {
		switch r.Number() {
		case retryTimestamp:
			f.timestamp = message.Uint[uint32](&r)
		case retryAt:
			f.at = r.Time(c)
		}
	}
	return r.Err()
}

// Fields of a Replay.
const (
	replayAnswer    message.Number = 1
	replayStampedAt message.Number = 2
	replayRetries   message.Number = 3
)

// AppendSnapshot appends a replay.
func (r *Replay) AppendSnapshot(b []byte, c message.Clock) []byte {
	b = message.AppendBytes(b, replayAnswer, r.answer.Bytes())
	b = message.AppendTime(b, replayStampedAt, c, r.stampedAt)
	b, mark := message.Open(b, replayRetries)
	return message.Close(r.retries.appendSnapshot(b, c), mark)
}

// RestoreReplay reads what Replay.AppendSnapshot has appended.
func RestoreReplay(b []byte, c message.Clock) (*Replay, error) {
	replay := new(Replay)
	var answer []byte
	r := message.Read(b)
	for r.Next() {
		switch r.Number() {
		case replayAnswer:
			answer = r.Bytes()
		case replayStampedAt:
			replay.stampedAt = r.Time(c)
		case replayRetries:
			r.Fail(replay.retries.restore(r.Bytes(), c))
		}
	}
	if !sendable(answer) {
		r.Refuse("no answer to a CONCLUSION")
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	replay.answer = pool.Get(answer)
	return replay, nil
}

// Fields of a CookieGenerator.
const (
	cookieSecret message.Number = 1
	// cookieEpochZero is when epoch 0 began, by CLOCK_MONOTONIC. It may be before the
	// host's start.
	cookieEpochZero message.Number = 2
)

// AppendSnapshot appends the generator's own secret and the age of its epochs: with both,
// all cookies of that secret stay valid. Shared secrets are not the generator's.
func (g *CookieGenerator) AppendSnapshot(b []byte, c message.Clock) []byte {
	b = message.AppendBytes(b, cookieSecret, g.own.secret[:])
	return message.AppendFixed64(b, cookieEpochZero, uint64(c.Origin-g.shift))
}

// RestoreCookies reads what CookieGenerator.AppendSnapshot has appended.
func RestoreCookies(b []byte, c message.Clock) (*CookieGenerator, error) {
	var secret Secret
	var shift time.Duration
	r := message.Read(b)
	for r.Next() {
		switch r.Number() {
		case cookieSecret:
			if copy(secret[:], r.Bytes()) != len(secret) || len(r.Bytes()) != len(secret) {
				r.Refuse("no secret")
			}
		case cookieEpochZero:
			shift = c.Origin - time.Duration(message.Uint[uint64](&r))
		}
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	g := NewCookieGenerator(secret)
	g.shift = shift
	return g, nil
}
