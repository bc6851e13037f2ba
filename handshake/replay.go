package handshake

import (
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Replay is the answer to a caller, kept for as long as the caller may repeat its
// CONCLUSION. It belongs to one shard.
type Replay struct {
	answer    *pool.Buffer
	stampedAt time.Duration // the time that the answer's timestamp stands for
	retries   retryFilter
}

// retryFilter tells a caller's retries from duplicates made by the network.
type retryFilter struct {
	timestamp uint32        // of the last CONCLUSION accepted
	at        time.Duration // when it came
}

// accept reports whether a CONCLUSION of the same attempt is a retry, and notes
// it; false for a duplicate. responseUsed says that the caller has sent with the
// socket ID of the answer: then a known timestamp is a duplicate at any age.
func (r *retryFilter) accept(now time.Duration, h wire.Handshake, responseUsed bool) bool {
	// Signed, because timestamps wrap. A CONCLUSION that a retry has overtaken
	// is a duplicate as well and must not replace the newer one.
	newer := int32(h.Packet().Timestamp() - r.timestamp)
	if newer < 0 || newer == 0 && (responseUsed || now-r.at < duplicateWindow) {
		return false
	}
	r.timestamp, r.at = h.Packet().Timestamp(), now
	return true
}

// AcceptRetry reports whether a CONCLUSION of the answered attempt is a retry, to
// be answered again. A duplicate made by the network is not: a second response
// ends the connection of a gosrt caller. responseUsed says that the caller has
// used the response.
func (r *Replay) AcceptRetry(now time.Duration, h wire.Handshake, responseUsed bool) bool {
	return r.retries.accept(now, h, responseUsed)
}

// Answer returns the answer with its timestamp advanced to now. It is valid until
// the next call.
func (r *Replay) Answer(now time.Duration) []byte {
	p := wire.Packet(r.answer.Bytes())
	advance(p, now-r.stampedAt)
	r.stampedAt = now
	return p
}

// Close returns the kept bytes to the pool.
func (r *Replay) Close() {
	release(r.answer)
	*r = Replay{}
}
