package handshake

import (
	"time"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Replay is what outlives an exchange: the answer that its caller got, kept for
// as long as the caller may ask again. It belongs to one shard.
type Replay struct {
	answer   *pool.Buffer
	stamped  time.Duration // what the answer's timestamp stands for
	repeated repeated
}

// repeated tells a caller's retries from copies that the network made.
type repeated struct {
	timestamp uint32        // of the last CONCLUSION taken
	at        time.Duration // when that came
}

// take takes a CONCLUSION of the same attempt, whose timestamp is that of a
// retry. False: it is a copy. heard says that the caller has used the answer;
// then a known timestamp is a copy however late it comes.
func (r *repeated) take(now time.Duration, h wire.Handshake, heard bool) bool {
	// Signed, for timestamps wrap. An older one was overtaken by a retry: it
	// is a copy as well, and must not take the place of the fresher one.
	fresher := int32(h.Packet().Timestamp() - r.timestamp)
	if fresher < 0 || fresher == 0 && (heard || now-r.at < networkCopy) {
		return false
	}
	r.timestamp, r.at = h.Packet().Timestamp(), now
	return true
}

// Again takes a CONCLUSION of the attempt that has been answered. It returns
// false for a copy made by the network, which must stay unanswered: a second
// response kills a gosrt caller. heard says that the caller has used the
// response.
func (r *Replay) Again(now time.Duration, h wire.Handshake, heard bool) bool {
	return r.repeated.take(now, h, heard)
}

// Answer returns the answer for the caller, stamped for now. It is a view that
// holds until the next call.
func (r *Replay) Answer(now time.Duration) []byte {
	p := wire.Packet(r.answer.Bytes())
	advance(p, now-r.stamped)
	r.stamped = now
	return p
}

// Close gives the kept bytes back.
func (r *Replay) Close() {
	release(r.answer)
	*r = Replay{}
}
