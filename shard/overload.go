package shard

import (
	"sync/atomic"
	"time"

	"srtrelay/relay/overload"
)

// What the steps of the overload ladder (package overload) mean for a shard. A loop reads
// the step once per turn: one that sleeps learns it with the next datagram.

// SetStep tells all shards the step that the relay is at. Any goroutine may call it.
func (g *Group) SetStep(step overload.Step) { g.step.Store(uint32(step)) }

// Working returns how long the loop of each shard has worked, as opposed to waited for
// datagrams. A loop that does not end its turn works.
func (g *Group) Working() []time.Duration {
	all := make([]time.Duration, len(g.shards))
	for i, s := range g.shards {
		all[i] = s.work.read(time.Since(s.origin))
	}
	return all
}

// workClock measures how long a loop works. The loop writes it when it begins to wait, and
// when it no longer does; any goroutine may read it.
//
// It is one word, so that a reader cannot see half of a change. While the loop works, that
// is the time at which it would have begun if it had not waited since; while it waits, the
// time it has worked, as -1 less that.
type workClock struct {
	word atomic.Int64
	_    [56]byte
}

// begins notes that the loop works, if it did not.
func (c *workClock) begins(now time.Duration) {
	if w := c.word.Load(); w < 0 {
		c.word.Store(int64(now) - (-1 - w))
	}
}

// waits notes that the loop waits from now on.
func (c *workClock) waits(now time.Duration) {
	if w := c.word.Load(); w >= 0 {
		c.word.Store(-1 - (int64(now) - w))
	}
}

// read returns how long the loop had worked by now.
func (c *workClock) read(now time.Duration) time.Duration {
	w := c.word.Load()
	if w < 0 {
		return time.Duration(-1 - w)
	}
	return max(now-time.Duration(w), 0)
}

// gapSliceEvery is how soon the next slice of sessions is prepared for being measured again.
const gapSliceEvery = time.Millisecond

// followStep reads the step that the relay is at. From StepTelemetry on sessions are not
// measured; when that is over their meters are told so first, a slice per turn.
func (s *Shard) followStep() {
	s.step = overload.Step(s.groupStep.Load())
	switch {
	case !s.cfg.Telemetry:
	case s.step >= overload.StepTelemetry:
		s.meters.Pause()
		s.gapChunk = 0
	case s.meters.Paused():
		s.gapChunk = s.sessions.slice(s.gapChunk, 1, func(_ uint32, ss *session) { s.meters.Skip(&ss.meter) })
		if s.gapChunk == 0 {
			s.meters.Resume()
		}
	}
}

// endsGap reports whether sessions are about to be measured again.
func (s *Shard) endsGap() bool { return s.meters.Paused() && s.step < overload.StepTelemetry }

// refusedByStep reports whether the present step refuses a new caller, and counts it.
func (s *Shard) refusedByStep(publish bool) bool {
	switch {
	case s.step >= overload.StepPublishers && publish:
		s.counters.inc(CountOverloadPublishers)
	case s.step >= overload.StepPlayers && !publish:
		s.counters.inc(CountOverloadPlayers)
	default:
		return false
	}
	return true
}
