package handshake

import (
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// accept settles the exchange with the backend's response.
func (x *Exchange) accept(now time.Duration, response wire.Handshake) {
	var room [wire.MaxPayload]byte
	x.settle(now, Connected, x.forCaller(room[:0], response))
}

// Reject settles the exchange with a rejection, the relay's own or one that
// the backend sent. It is built from the caller's request: a backend's repeats
// what it was sent, which names the backend's address and its cookie, may have
// a stream ID that the rules made, and a socket ID next to those in use.
func (x *Exchange) Reject(now time.Duration, code Code) {
	var b [wire.HandshakeSize]byte
	x.settle(now, Rejected, wire.Handshake(AppendRejection(b[:0], x.kept(), code)))
}

// settle keeps the answer.
func (x *Exchange) settle(now time.Duration, p Phase, answer wire.Handshake) {
	x.phase, x.answered = p, now
	release(x.response)
	x.response = pool.Get(answer)
}

// forCaller appends a backend's response with what the relay changed on the
// way there changed back. Listeners echo the request: libsrt its cookie, gosrt
// its stream ID. The caller gets its own cookie, its own address as the peer
// IP, in its own address family, and the stream ID that it sent.
func (x *Exchange) forCaller(b []byte, response wire.Handshake) wire.Handshake {
	b = x.appendOwnStreamID(b, response)
	h := wire.Handshake(b)
	h.SetCookie(x.kept().Cookie())
	h.SetPeerIP(x.caller)
	return h
}

// appendOwnStreamID appends a response. A stream ID in it becomes the one that
// the caller sent; where that has no place there is none.
func (x *Exchange) appendOwnStreamID(b []byte, response wire.Handshake) []byte {
	if x.asked == nil || !hasStreamID(response) {
		return append(b, response...)
	}
	whole := response[:len(response)&^3]
	if own, err := RewriteStreamID(b, whole, x.asked.StreamID); err == nil {
		return own
	}
	// Without one it is shorter, and nothing is hidden: that always works.
	without, _ := RewriteStreamID(b, whole, "")
	return without
}

// hasStreamID reports whether a handshake has a stream ID block, whatever its
// flags say.
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
