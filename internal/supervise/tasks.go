package supervise

import (
	"context"
	"sync"
	"time"
)

// A loop that panicked starts again after minRetry. The time doubles up to
// maxRetry, until the loop has run for steady without a panic.
const (
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
	steady   = time.Minute
)

// Tasks is a sync.WaitGroup whose goroutines are supervised. The zero Tasks has
// no Supervisor.
type Tasks struct {
	supervisor *Supervisor
	running    sync.WaitGroup
}

// Tasks returns a new, empty group.
func (s *Supervisor) Tasks() *Tasks { return &Tasks{supervisor: s} }

// Go runs a task that is not restarted: a panic ends it.
func (t *Tasks) Go(name string, run func()) {
	t.running.Go(func() { _ = t.supervisor.protect(name, "the task has ended", run) })
}

// Loop runs a task that ends when ctx does. After a panic it starts again after a
// delay, or at once when ctx ends, so that it can clean up. It does not start again
// if it panics after ctx has ended.
func (t *Tasks) Loop(ctx context.Context, name string, run func(context.Context)) {
	t.running.Go(func() {
		for wait := minRetry; ; wait = min(2*wait, maxRetry) {
			began := time.Now()
			err := t.supervisor.protect(name, "the task starts again", func() { run(ctx) })
			if err == nil || ctx.Err() != nil {
				return
			}
			if time.Since(began) >= steady {
				wait = minRetry
			}
			pause(ctx, wait)
		}
	})
}

// Wait returns when all tasks have ended.
func (t *Tasks) Wait() { t.running.Wait() }

// Every calls fn once per period until ctx ends. A call that takes longer delays the next one.
func Every(ctx context.Context, period time.Duration, fn func(now time.Time)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			fn(now)
		}
	}
}

// pause waits for a time, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
