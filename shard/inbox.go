package shard

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

var (
	// ErrStopped says that the shards have ended.
	ErrStopped = errors.New("the relay stops")
	// ErrBusy says that a shard's inbox stayed full.
	ErrBusy = errors.New("the shard is too busy to answer")
)

// inbox is a bounded queue of tasks by which other goroutines reach a shard's loop.
// The loop loads the flag once per turn, from a cache line that is rarely written,
// and locks the mutex only if it is set.
type inbox struct {
	hasTasks atomic.Bool
	mu       sync.Mutex
	tasks    []task
	limit    int
	wake     func()
	// closed is set when the loop has ended: no task will be taken any more.
	closed bool
	// terminated is closed when no task will run any more, also none that was
	// taken.
	terminated chan struct{}
}

// task is run by the loop with its own shard.
type task func(*Shard)

// post queues t and wakes the loop. It never waits; false means that the inbox is full
// or closed, and then t will not run.
func (b *inbox) post(t task) bool { return b.put(t, 0) }

// lossReserve is how many tasks beyond the limit the inbox takes from other shards
// that report a lost backend.
const lossReserve = 4096

// postReserved is post for a shard's report that a backend is lost.
func (b *inbox) postReserved(t task) bool { return b.put(t, lossReserve) }

// postAlways is post for the few commands of the shard's owner, which a full inbox
// takes too.
func (b *inbox) postAlways(t task) bool { return b.put(t, math.MaxInt/2) }

// setLimit sets how many tasks post takes.
func (b *inbox) setLimit(limit int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// put queues t unless limit+extra tasks are waiting.
func (b *inbox) put(t task, extra int) bool {
	b.mu.Lock()
	if b.closed || len(b.tasks) >= b.limit+extra {
		b.mu.Unlock()
		return false
	}
	b.tasks = append(b.tasks, t)
	// Under the lock: a flag that is set late, for a task that has been taken
	// already, would make the loop take an empty list.
	first := !b.hasTasks.Swap(true)
	b.mu.Unlock()
	if first {
		b.wake()
	}
	return true
}

// drain returns what has been posted and keeps the emptied list of last time for the
// next tasks. Loop only.
func (b *inbox) drain(empty []task) []task {
	if !b.hasTasks.Load() {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.hasTasks.Store(false)
	if len(b.tasks) == 0 {
		return nil // and empty stays the loop's own: two lists must not share it
	}
	list := b.tasks
	b.tasks = empty[:0]
	return list
}

// isClosed reports whether no task will be taken any more.
func (b *inbox) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// close closes the inbox and returns the tasks that were not taken. They are to be
// run, so that the leases in them are not lost.
func (b *inbox) close() []task {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return b.tasks
}

// abandon closes the inbox; tasks that have not run will not. Calling it again does
// nothing.
func (b *inbox) abandon() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed, b.tasks = true, nil
	select {
	case <-b.terminated:
	default:
		close(b.terminated)
	}
}

// runTasks runs what other goroutines have posted.
func (s *Shard) runTasks() {
	tasks := s.inbox.drain(s.tasks)
	if tasks == nil {
		return
	}
	for _, t := range tasks {
		t(s)
	}
	clear(tasks)
	s.tasks = tasks
}

// do runs fn on the loop and waits until it has. After an error fn has not run, and
// will not.
func (b *inbox) do(ctx context.Context, fn func(*Shard)) error {
	return b.doInTurns(ctx, func(s *Shard) bool { fn(s); return true })
}

// doInTurns runs fn on the loop, once per turn until it returns true, and waits until it has.
// After an error it does not run any more.
func (b *inbox) doInTurns(ctx context.Context, fn func(*Shard) (end bool)) error {
	var claimed atomic.Bool
	done := make(chan struct{})
	var t task
	t = func(s *Shard) {
		switch {
		case !claimed.CompareAndSwap(false, true): // nobody waits any more
		case fn(s):
			close(done)
		default:
			claimed.Store(false)
			b.postAlways(t) // unless the inbox is closed, which ends the waiting, too
		}
	}
	if err := b.postRetrying(ctx, t); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if claimed.CompareAndSwap(false, true) {
			return ctx.Err() // the task does nothing
		}
		// The loop is running it, which takes a bounded time.
		if !b.await(done) {
			return ErrStopped
		}
		return nil
	case <-b.terminated:
		if !b.await(done) {
			return ErrStopped
		}
		return nil
	}
}

// doAlways runs do on the loop, also if the inbox is full, and waits; false if the
// loop has ended.
func (b *inbox) doAlways(do func(*Shard)) bool {
	done := make(chan struct{})
	if !b.postAlways(func(s *Shard) { do(s); close(done) }) {
		return false
	}
	return b.await(done)
}

// await waits until a task is done; false if it will never be, because the loop has
// ended.
func (b *inbox) await(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-b.terminated:
	}
	select {
	case <-done: // before the loop ended
		return true
	default:
		return false
	}
}

// postRetrying posts a task, and retries for a while if the inbox is full.
func (b *inbox) postRetrying(ctx context.Context, t task) error {
	wait := firstRetry
	for range retries {
		if b.post(t) {
			return nil
		}
		if b.isClosed() {
			return ErrStopped
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		wait *= 2
	}
	return ErrBusy
}

// AwaitTurns returns nil when every shard has turned since the call, and wakes those
// that sleep. If ctx ends first, the error names the shards that have not.
func (g *Group) AwaitTurns(ctx context.Context) error {
	turned := make([]chan struct{}, len(g.shards))
	for i, s := range g.shards {
		turned[i] = make(chan struct{})
		if !s.inbox.postAlways(func(*Shard) { close(turned[i]) }) {
			return ErrStopped
		}
	}
	for i, s := range g.shards {
		select {
		case <-turned[i]:
		case <-s.inbox.terminated:
			return ErrStopped
		case <-ctx.Done():
			if late := notYet(turned); len(late) > 0 {
				return fmt.Errorf("shards %v do not turn: %w", late, ctx.Err())
			}
			return nil
		}
	}
	return nil
}

// notYet returns the indexes of the channels that are not closed.
func notYet(done []chan struct{}) (open []int) {
	for i, c := range done {
		select {
		case <-c:
		default:
			open = append(open, i)
		}
	}
	return open
}
