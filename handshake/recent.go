package handshake

import "time"

// Recent knows the requests of the last moments again, so that a copy made by
// the network gets no second answer: gosrt makes a new key for every INDUCTION
// reply and may end up with another than its backend. Like Limiter it is a
// fixed table that strangers cannot make grow; where they push an entry out,
// a copy is answered as if there were no table.
type Recent struct {
	seen [recentSlots]struct {
		hash uint64
		at   time.Duration
	}
}

// recentSlots keeps a thousand callers apart within networkCopy: 64 KiB.
const recentSlots = 4096

// Copy reports whether a request with this hash was seen within networkCopy,
// and remembers it.
func (r *Recent) Copy(now time.Duration, hash uint64) bool {
	slot := &r.seen[hash%recentSlots]
	if slot.hash == hash && slot.at != 0 && now-slot.at < networkCopy {
		return true
	}
	slot.hash, slot.at = hash, now
	return false
}
