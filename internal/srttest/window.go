package srttest

// windowSize is how far behind the newest packet a late one can still be distinguished
// from a duplicate. It divides 2^31, so that a sequence number keeps its bit when the
// numbers wrap.
const windowSize = 4096

const sequenceMask = 1<<31 - 1

// ahead is how far the sequence number a lies ahead of b; negative if behind.
func ahead(a, b uint32) int { return int(int32((a-b)<<1) >> 1) }

type arrival int

const (
	inOrder arrival = iota
	afterGap
	late      // filled a gap
	duplicate // seen before
	stale     // before the start, or too far back to tell
)

// window classifies data packets by sequence number. It belongs to an endpoint.
type window struct {
	next uint32 // the number expected next
	span int    // how many numbers behind next are remembered
	seen []uint64
}

func (w *window) start(isn uint32) { *w = window{next: isn} }

func (w *window) set(seq uint32, on bool) {
	i := seq % windowSize
	if on {
		w.seen[i/64] |= 1 << (i % 64)
	} else {
		w.seen[i/64] &^= 1 << (i % 64)
	}
}

func (w *window) has(seq uint32) bool {
	i := seq % windowSize
	return w.seen[i/64]&(1<<(i%64)) != 0
}

// add adds one packet. gap is how many packets before it are newly missing.
func (w *window) add(seq uint32) (a arrival, gap int) {
	if w.seen == nil { // most sessions of a load test never receive data
		w.seen = make([]uint64, windowSize/64)
	}
	d := ahead(seq, w.next)
	switch {
	case d >= 0:
		for i := range min(d, windowSize) {
			w.set(seq-1-uint32(i), false)
		}
		w.set(seq, true)
		w.next = (seq + 1) & sequenceMask
		w.span = min(w.span+d+1, windowSize)
		if d > 0 {
			return afterGap, d
		}
		return inOrder, 0
	case -d > w.span:
		return stale, 0
	case w.has(seq):
		return duplicate, 0
	}
	w.set(seq, true)
	return late, 0
}
