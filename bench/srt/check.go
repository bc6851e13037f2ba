package srt

// Verdict is the meaning of a sequence number.
type Verdict uint8

// The verdicts of Check.See.
const (
	InOrder    Verdict = iota
	Gap                // in order, but numbers before it are missing
	Reordered          // came late and fills a gap
	Duplicated         // was here before
	Stale              // too far back to tell; what it may fill stays lost
)

// checkWindow is how far back a late packet can be distinguished from a copy.
const checkWindow = 64

// Check follows the sequence numbers of one session, from the initial one on,
// so that a loss at the very beginning counts as well. One at the very end
// does not: nothing comes after it. It belongs to its session.
type Check struct {
	next uint32
	seen uint64 // bit i: next-1-i was here
}

// NewCheck expects isn first.
func NewCheck(isn uint32) Check { return Check{next: isn & MaxSequence, seen: ^uint64(0)} }

// Next returns the number after the highest one seen, which an ACK reports.
func (c *Check) Next() uint32 { return c.next }

// See notes a sequence number. With Gap, missing is how many numbers before it have not been
// seen.
func (c *Check) See(sequence uint32) (v Verdict, missing uint32) {
	ahead := (sequence - c.next) & MaxSequence
	switch {
	case ahead == 0:
		c.next = (c.next + 1) & MaxSequence
		c.seen = c.seen<<1 | 1
		return InOrder, 0
	case ahead < 1<<30:
		c.next = (sequence + 1) & MaxSequence
		// A shift by 64 or more gives 0, as it should.
		c.seen = c.seen<<(ahead+1) | 1
		return Gap, ahead
	}
	back := (c.next - 1 - sequence) & MaxSequence
	if back >= checkWindow {
		return Stale, 0
	}
	bit := uint64(1) << back
	if c.seen&bit != 0 {
		return Duplicated, 0
	}
	c.seen |= bit
	return Reordered, 0
}
