package shard

import "time"

const (
	// gatherLeast is how many datagrams a full wait must promise to be worth
	// one: fewer save no more calls than the wait itself costs.
	gatherLeast = 4
	// gatherFill is the part of a batch worth waiting for. A batch that came in
	// full has another receive call follow at once, for the little that did not
	// fit: the rest is room for what comes sooner than expected.
	gatherFill = 0.75
	// gatherShortest is the shortest wait that a timer can make.
	gatherShortest = 10 * time.Microsecond
)

// gatherer decides how long the loop lets datagrams gather before it receives
// again. At a steady rate the work per turn is mostly fixed (system calls, the
// switch to this thread and back), so that fewer and fuller turns cost less;
// and longer batches make longer superpackets. It belongs to one shard.
type gatherer struct {
	most time.Duration // the longest wait; 0 for none
	fill float64       // datagrams worth waiting for

	turn     time.Duration // the last turn began
	received uint64        // by then
	expected float64       // datagrams in a wait of length most, smoothed
}

// begin notes a turn that begins at now, when received datagrams have come in
// all.
func (g *gatherer) begin(now time.Duration, received uint64) {
	gap, n := now-g.turn, received-g.received
	g.turn, g.received = now, received
	if gap > 0 && g.most > 0 {
		// Smoothed over four waits: not taken in by one burst, and forgotten
		// with the first turn after a silence.
		waits := float64(gap) / float64(g.most)
		g.expected += (float64(n)/waits - g.expected) * min(waits/4, 1)
	}
}

// wait returns how long to wait from now on, 0 for not at all. worth says
// whether there is traffic enough to receive again without asking the poller.
func (g *gatherer) wait(now time.Duration) (d time.Duration, worth bool) {
	if g.most == 0 || g.expected < gatherLeast {
		return 0, false
	}
	d = g.most
	if g.expected > g.fill {
		d = time.Duration(float64(d) * g.fill / g.expected)
	}
	if d -= now - g.turn; d < gatherShortest {
		return 0, true
	}
	return d, true
}
