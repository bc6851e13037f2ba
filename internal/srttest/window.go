package srttest

// ledgerWindow is how far behind the newest packet a late one is still told
// from a duplicate. It divides 2^31, so that a sequence number keeps its bit
// when the numbers wrap.
const ledgerWindow = 4096

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

// ledger judges data packets by sequence number. It belongs to an endpoint.
type ledger struct {
	next uint32 // the number expected next
	span int    // how many numbers behind next are remembered
	seen []uint64
}

func (l *ledger) start(isn uint32) { *l = ledger{next: isn} }

func (l *ledger) set(seq uint32, on bool) {
	i := seq % ledgerWindow
	if on {
		l.seen[i/64] |= 1 << (i % 64)
	} else {
		l.seen[i/64] &^= 1 << (i % 64)
	}
}

func (l *ledger) has(seq uint32) bool {
	i := seq % ledgerWindow
	return l.seen[i/64]&(1<<(i%64)) != 0
}

// add books one packet. gap is how many numbers before it are missing now that
// were not known to be missing.
func (l *ledger) add(seq uint32) (a arrival, gap int) {
	if l.seen == nil { // most sessions of a load test never receive data
		l.seen = make([]uint64, ledgerWindow/64)
	}
	d := ahead(seq, l.next)
	switch {
	case d >= 0:
		for i := range min(d, ledgerWindow) {
			l.set(seq-1-uint32(i), false)
		}
		l.set(seq, true)
		l.next = (seq + 1) & sequenceMask
		l.span = min(l.span+d+1, ledgerWindow)
		if d > 0 {
			return afterGap, d
		}
		return inOrder, 0
	case -d > l.span:
		return stale, 0
	case l.has(seq):
		return duplicate, 0
	}
	l.set(seq, true)
	return late, 0
}
