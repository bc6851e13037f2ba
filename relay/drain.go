package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"srtrelay/shard"
)

// wait blocks until the relay is to stop. The error says why it must.
func (r *relay) wait(ctx context.Context, drain <-chan struct{}) error {
	select {
	case <-ctx.Done():
		return nil
	case err := <-r.group.Broken():
		return r.logBroken(err)
	case <-r.handedOver:
		return nil
	case <-drain:
	}
	if r.parked.Load() {
		return nil
	}
	r.state.draining.Store(true) // /ready says so before a caller is refused
	c := r.reloads.current.Load()
	r.manager.Stopping(c.DrainDelay + c.Grace + stopTimeout)
	if err := r.waitDrainDelay(ctx, c.DrainDelay); err != nil || ctx.Err() != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.Grace)
	defer cancel()
	drained := make(chan uint64, 1)
	r.supervisor.Tasks().Go("drain", func() {
		defer close(drained)
		drained <- r.group.Drain(limited)
	})
	select {
	case <-r.handedOver:
		return nil
	case left := <-drained:
		if left > 0 {
			r.log.Warn("ending sessions", "sessions", left)
		}
		return nil
	case err := <-r.group.Broken():
		cancel()
		<-drained
		return r.logBroken(err)
	}
}

// waitDrainDelay waits for --drain-delay, or until ctx ends. The error says why the
// relay must stop.
func (r *relay) waitDrainDelay(ctx context.Context, wait time.Duration) error {
	if wait == 0 {
		return nil
	}
	delay := time.NewTimer(wait)
	defer delay.Stop()
	select {
	case <-delay.C:
		r.log.Info("refusing new callers")
	case <-ctx.Done():
	case err := <-r.group.Broken():
		return r.logBroken(err)
	}
	return nil
}

// logBroken logs why a shard cannot go on, with the stack of a panic, and returns the
// error.
func (r *relay) logBroken(err error) error {
	if p, ok := errors.AsType[*shard.PanicError](err); ok {
		r.log.Error("a shard has panicked, the relay stops", "shard", p.Shard, "panic", fmt.Sprint(p.Value), "stack", string(p.Stack))
	} else {
		r.log.Error("a shard cannot go on, the relay stops", "error", err)
	}
	return err
}
