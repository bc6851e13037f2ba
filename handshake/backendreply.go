package handshake

import (
	"math"
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Reply handles a handshake that the backend addressed to the caller's socket.
// If the outcome is OutcomeProgressed, the next datagram to the backend is
// appended to b.
func (l *BackendLeg) Reply(now time.Duration, h wire.Handshake, b []byte) ([]byte, Outcome) {
	switch {
	case l.phase == PhaseResolving:
		return b, OutcomeIgnored
	case !l.Pending():
		return b, OutcomeDuplicate
	case l.cookieCached && Code(h.Type()) == CodeRogue && h.ISN() == l.Conclusion().ISN():
		l.restartInduction()
		return l.appendNext(now, b), OutcomeProgressed
	case h.Type().IsRejection():
		return b, l.handleRejection(now, h)
	case h.Type() == wire.HandshakeInduction && l.phase == PhaseConclusion:
		return b, OutcomeDuplicate
	case IsInductionReply(h, l.nonce):
		l.phase, l.cookie, l.sends = PhaseConclusion, h.Cookie(), 0
		return l.appendNext(now, b), OutcomeProgressed
	case h.Type() == wire.HandshakeConclusion && (l.phase == PhaseConclusion || l.cookieSent) && l.validResponse(h):
		l.handleResponse(now, h)
		return b, OutcomeAnswered
	}
	l.invalidReply = true
	return b, OutcomeIgnored
}

// NoteInvalidReply notes that the backend sent something else than a handshake.
// It makes no difference if the backend accepts later: then it was early data.
func (l *BackendLeg) NoteInvalidReply() { l.invalidReply = true }

// validResponse reports whether the caller would accept h: it echoes the
// caller's ISN, has a known version and a socket ID, and for HSv5 extensions.
func (l *BackendLeg) validResponse(h wire.Handshake) bool {
	return h.ISN() == l.Conclusion().ISN() && h.SocketID() != 0 &&
		(h.Version() == 4 || h.Version() == 5 && len(h) > wire.HandshakeSize)
}

// handleRejection handles the backend's rejection. After CodeBacklog the backend
// is asked again until the deadline, because a full accept queue drains. A code
// that allows failover is kept while another backend may be asked; any other
// rejects the caller.
func (l *BackendLeg) handleRejection(now time.Duration, h wire.Handshake) Outcome {
	if toInduction := l.phase == PhaseInduction && h.ISN() == uint32(l.nonce); !toInduction && h.ISN() != l.Conclusion().ISN() {
		l.invalidReply = true
		return OutcomeIgnored
	}
	if Code(h.Type()) == CodeBacklog {
		l.backlog, l.retry = CodeBacklog, now+BacklogRetryInterval
		return OutcomeProgressed
	}
	if code := Code(h.Type()); !code.AllowsFailover() {
		l.Reject(now, code)
		return OutcomeAnswered
	} else {
		l.refusal, l.retry = code, math.MaxInt64 // not asked again
	}
	return OutcomeRefused
}

// handleResponse completes the leg with the backend's response.
func (l *BackendLeg) handleResponse(now time.Duration, response wire.Handshake) {
	var buf [wire.MaxPayload]byte
	l.finish(now, PhaseConnected, l.appendCallerResponse(buf[:0], response))
}

// Reject completes the leg with a rejection, the relay's or the backend's. It is
// built from the caller's request, because a backend's rejection repeats what
// the relay sent: the backend's address and cookie, perhaps a stream ID that the
// rules made, and a socket ID close to those in use.
func (l *BackendLeg) Reject(now time.Duration, code Code) {
	var b [wire.HandshakeSize]byte
	l.finish(now, PhaseRejected, wire.Handshake(AppendRejection(b[:0], l.Conclusion(), code)))
}

// finish keeps the answer for the caller.
func (l *BackendLeg) finish(now time.Duration, p Phase, answer wire.Handshake) {
	l.phase, l.answeredAt = p, now
	release(l.response)
	l.response = pool.Get(answer)
}

// appendCallerResponse appends a backend's response with the relay's changes
// undone. Listeners echo parts of the request: libsrt the cookie, gosrt the
// stream ID. The caller gets its own cookie, its own address as the peer IP, in
// its own address family, and the stream ID that it sent.
func (l *BackendLeg) appendCallerResponse(b []byte, response wire.Handshake) wire.Handshake {
	b = l.appendCallerStreamID(b, response)
	h := wire.Handshake(b)
	h.SetCookie(l.Conclusion().Cookie())
	h.SetPeerIP(l.caller)
	return h
}

// appendCallerStreamID appends a response. A stream ID in it is replaced by the
// one that the caller sent, or removed if that does not fit.
func (l *BackendLeg) appendCallerStreamID(b []byte, response wire.Handshake) []byte {
	if l.original == nil || !hasStreamID(response) {
		return append(b, response...)
	}
	whole := response[:len(response)&^3]
	if b, err := RewriteStreamID(b, whole, l.original.StreamID); err == nil {
		return b
	}
	// Removing it always works: the response gets shorter, and hides no block.
	without, _ := RewriteStreamID(b, whole, "")
	return without
}

// hasStreamID reports whether a handshake has a stream ID block, with or without
// the CONFIG flag.
func hasStreamID(h wire.Handshake) bool {
	if h.Version() != 5 {
		return false
	}
	for b := range h.Blocks {
		if b.Type == wire.BlockSID {
			return true
		}
	}
	return false
}
