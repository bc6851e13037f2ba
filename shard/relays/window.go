package relays

import "time"

const (
	// maxSkew is how far the clocks of two relays may differ, in seconds: as far as
	// cookies allow.
	maxSkew = 60
	// windowSize is how many of a sender's last frames are told apart from replayed ones.
	// Frames that come later than that many others are dropped.
	windowSize = 4096
	// maxSenders is how many processes are remembered. Each relay has one, and those that
	// have ended are forgotten first.
	maxSenders = 256
)

// windows tells frames that were received before. It belongs to the receiver.
type windows struct {
	bySender map[uint64]*window
}

// window are the last frames of one sender.
type window struct {
	highest uint64
	seen    [windowSize / 64]uint64
	last    int64 // when a frame came, in seconds since 1970
}

// accept reports why a frame is dropped, if it is; its authenticator must be right.
func (w *windows) accept(s stamp, now time.Time) (drop Counter, ok bool) {
	at := now.Unix()
	if s.time > at+maxSkew || s.time < at-maxSkew {
		return DropStale, false
	}
	one := w.bySender[s.sender]
	if one == nil {
		if len(w.bySender) >= maxSenders {
			w.evict()
		}
		one = new(window)
		w.bySender[s.sender] = one
	}
	one.last = at
	if !one.note(s.sequence) {
		return DropReplayed, false
	}
	return 0, true
}

// evict forgets the sender that has been silent longest.
func (w *windows) evict() {
	var oldest uint64
	found := false
	for id, one := range w.bySender {
		if !found || one.last < w.bySender[oldest].last {
			oldest, found = id, true
		}
	}
	delete(w.bySender, oldest)
}

// note reports whether a sequence number has not been seen. Numbers count from 1.
func (w *window) note(n uint64) bool {
	if n == 0 || w.highest >= windowSize && n <= w.highest-windowSize {
		return false
	}
	if n > w.highest {
		w.clear(w.highest+1, n)
		w.highest = n
	}
	word, bit := &w.seen[n%windowSize/64], uint64(1)<<(n%64)
	if *word&bit != 0 {
		return false
	}
	*word |= bit
	return true
}

// clear marks the numbers from first to last as not seen.
func (w *window) clear(first, last uint64) {
	if last-first >= windowSize {
		w.seen = [windowSize / 64]uint64{}
		return
	}
	for n := first; n <= last; n++ {
		w.seen[n%windowSize/64] &^= 1 << (n % 64)
	}
}
