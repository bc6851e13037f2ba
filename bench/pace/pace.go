// Package pace says which session's datagram is due when: a schedule fixed in
// advance, which nothing that happens while it runs can slow down.
//
// It must not know clocks: its caller passes the time.
package pace

import "math/bits"

// second in nanoseconds, the unit of all times here.
const second = 1_000_000_000

// Plan is an open-loop schedule: rate datagrams per second over a number of
// sessions in turn. Datagram i is due i/rate after the start and belongs to
// session i modulo sessions, so that flows interleave and their phases are
// spread evenly. It belongs to one loop.
type Plan struct {
	start    int64
	interval uint64 // ns between two datagrams, times 2^32, to be exact for hours
	sessions int
	index    uint64 // of the next datagram
	turn     int    // index modulo sessions
	running  bool
}

// New returns a plan that has not started. With a rate or number of sessions of 0 nothing
// is ever due.
func New(rate float64, sessions int) Plan {
	p := Plan{sessions: sessions}
	if rate > 0 && sessions > 0 {
		p.interval = uint64(second / rate * (1 << 32))
	}
	return p
}

// Start begins, or begins again, with the next session in turn.
func (p *Plan) Start(now int64) {
	p.start, p.index, p.running = now, 0, p.interval > 0
}

// Stop ends the schedule.
func (p *Plan) Stop() { p.running = false }

// Running reports whether anything will be due.
func (p *Plan) Running() bool { return p.running }

// Due is when the next datagram is due.
func (p *Plan) Due() int64 {
	hi, lo := bits.Mul64(p.index, p.interval)
	return p.start + int64(hi<<32|lo>>32)
}

// Next returns the session of the next datagram and when that is due, and goes on to the
// one after it; false if none is due at now. A late caller gets all that were due in the
// meantime, one by one.
func (p *Plan) Next(now int64) (session int, due int64, ok bool) {
	if !p.running {
		return 0, 0, false
	}
	if due = p.Due(); due > now {
		return 0, 0, false
	}
	session = p.turn
	p.index++
	if p.turn++; p.turn == p.sessions {
		p.turn = 0
	}
	return session, due, true
}

// Round visits a number of things once per interval each, evenly spread, as for keepalives.
// Only one loop uses it.
type Round struct {
	interval int64
	begun    int64
	visited  int // in this round
}

// NewRound visits with this interval, in ns.
func NewRound(interval, now int64) Round { return Round{interval: interval, begun: now} }

// Visit returns which of n are to be visited now: from first up to, and not
// including, last. n may change from call to call.
func (r *Round) Visit(now int64, n int) (first, last int) {
	since := now - r.begun
	if since >= r.interval {
		first, last = min(r.visited, n), n
		// After a long break one round is enough.
		r.begun, r.visited = now-since%r.interval, 0
		return first, last
	}
	hi, lo := bits.Mul64(uint64(max(since, 0)), uint64(n))
	q, _ := bits.Div64(hi, lo, uint64(r.interval))
	first, last = min(r.visited, int(q)), int(q)
	r.visited = last
	return first, last
}
