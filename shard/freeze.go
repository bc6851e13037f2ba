package shard

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"srtrelay/backend"
)

// The take-over by another process (docs/adr): the loops of this one park with their state
// written down, the other one restores it, and this one resumes or abandons its own.

// errFrozen says that the loops are parked already.
var errFrozen = errors.New("the shards are frozen already")

// freeze is one Freeze, which all shards share.
type freeze struct {
	parked  chan int      // the shards that receive no more
	encode  chan struct{} // closed when all are parked
	encoded chan int      // the shards that have written their state down
	release chan struct{} // closed by Resume or Abandon
	abandon bool          // written before release is closed
	parts   [][]byte      // by shard, as errs; memory for them, until they are written
	errs    []error
}

// Freeze has every loop end its turn, send what it has to send, and park: from then on it
// neither receives nor sends, timers do not fire, and tasks of its inbox wait until Resume,
// or until Abandon answers them with ErrStopped. It returns the state of each shard, which it
// has written down itself, and how long that took from the first loop that was asked to park.
//
// All shards are parked before the first writes its state down, so that each has what the
// others have posted. Functions in the background have ended; no other begins before Resume.
//
// If ctx ends, or a shard has ended or panicked, the loops resume and Freeze returns why.
func (g *Group) Freeze(ctx context.Context) (parts [][]byte, took time.Duration, err error) {
	g.freezeMu.Lock()
	defer g.freezeMu.Unlock()
	if g.freeze != nil {
		return nil, 0, errFrozen
	}
	select {
	case g.backgroundTurn <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, fmt.Errorf("freeze: wait for the background: %w", ctx.Err())
	}
	n := len(g.shards)
	f := &freeze{
		parked: make(chan int, n), encode: make(chan struct{}), encoded: make(chan int, n), release: make(chan struct{}),
		parts: make([][]byte, n), errs: make([]error, n),
	}
	for k, s := range g.shards {
		f.parts[k] = s.snapshotBuffer()
	}
	g.freeze = f
	began := time.Now()
	for _, s := range g.shards {
		s.inbox.postAlways(func(s *Shard) { s.freeze = f })
	}
	if err = g.awaitAll(ctx, f.parked); err == nil {
		close(f.encode)
		err = g.awaitAll(ctx, f.encoded)
	}
	if err == nil {
		err = errors.Join(f.errs...)
	}
	took = time.Since(began)
	if err != nil {
		g.unfreeze(false)
		return nil, took, fmt.Errorf("freeze: %w", err)
	}
	return f.parts, took, nil
}

// awaitAll waits until every shard has reported.
func (g *Group) awaitAll(ctx context.Context, reports <-chan int) error {
	missing := make([]bool, len(g.shards))
	for k := range missing {
		missing[k] = true
	}
	for k, s := range g.shards {
		for missing[k] {
			select {
			case id := <-reports:
				missing[id] = false
			case <-s.inbox.terminated:
				return fmt.Errorf("shard %d has ended: %w", k, ErrStopped)
			case <-ctx.Done():
				return fmt.Errorf("shard %d does not answer: %w", k, ctx.Err())
			}
		}
	}
	return nil
}

// park waits with the turn over until the group resumes or is abandoned.
func (s *Shard) park() {
	f := s.freeze
	s.freeze = nil
	s.work.waits(time.Since(s.origin))
	f.parked <- s.id
	select {
	case <-f.encode:
		// What the other shards, or the resolver, posted before they were parked.
		s.runTasks()
		s.readLetters()
		s.outcomes.retry()
		s.flush()
		s.offerPending()
		s.captures.commit()
		s.updateGauges()
		s.counters.publish()
		f.parts[s.id], f.errs[s.id] = s.encode(f.parts[s.id])
		f.encoded <- s.id
	case <-f.release: // Freeze has failed
	}
	<-f.release
	if f.abandon {
		s.exiting, s.abandoned = true, true
		return
	}
	s.drainFirst = true
	s.releaseUpstreams()
}

// encode writes the shard's state down. A panic there is an error: the shard can go on.
func (s *Shard) encode(space []byte) (b []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("shard %d: panic: %v\n%s", s.id, v, debug.Stack())
		}
	}()
	if s.endingSessions || s.exiting {
		return nil, fmt.Errorf("shard %d: %w", s.id, ErrStopped)
	}
	return s.appendSnapshot(space), nil
}

// Resume has frozen loops go on, as after a stall: the sockets are read until they are empty
// before a timer fires. It also ends what Sockets has begun. On loops that run it does
// nothing else.
func (g *Group) Resume() {
	g.freezeMu.Lock()
	defer g.freezeMu.Unlock()
	if g.freeze != nil {
		g.unfreeze(false)
		return
	}
	for _, s := range g.shards {
		s.inbox.postAlways((*Shard).releaseUpstreams)
	}
}

// unfreeze releases the parked loops.
func (g *Group) unfreeze(abandon bool) {
	g.freeze.abandon = abandon
	close(g.freeze.release)
	g.freeze = nil
	<-g.backgroundTurn
}

// Abandon ends a group whose sessions another process has taken over, or that was never
// started: the loops end and the descriptors are closed. No session gets a SHUTDOWN, no lease
// is reported, and the kernel path and the session ledger are not touched. A group that has
// been started must be frozen.
func (g *Group) Abandon() {
	g.freezeMu.Lock()
	defer g.freezeMu.Unlock()
	g.abandoned = true
	if g.freeze != nil {
		g.unfreeze(true)
	} else {
		for _, s := range g.shards {
			s.leave()
		}
	}
	g.loops.Wait()
	for _, s := range g.shards {
		s.closeSockets()
	}
}

// leave ends a shard and leaves its sessions to another process.
func (s *Shard) leave() {
	s.captures.end()
	s.letterbox.Close()
	s.inbox.abandon()
	s.held = nil
	s.updateGauges()
	s.counters.publish()
}

// Restore gives a shard the state that a shard of another process has written down (Freeze).
// The group must have taken over the sockets of that process (Config.Adopt), with its origin,
// and must not have been started. After an error the group can only be closed.
func (g *Group) Restore(shard int, snapshot []byte) (err error) {
	if shard < 0 || shard >= len(g.shards) {
		return fmt.Errorf("restore shard %d: there are %d", shard, len(g.shards))
	}
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("restore shard %d: panic: %v\n%s", shard, v, debug.Stack())
		}
	}()
	s := g.shards[shard]
	if err := s.restore(snapshot); err != nil {
		return fmt.Errorf("restore shard %d: %w", shard, err)
	}
	g.restored.Store(true)
	s.drainFirst = true
	s.updateGauges()
	s.counters.publish()
	return nil
}

// Leases returns the leases that restored sessions hold, and those of outcomes that are still
// to be reported. The group must not have been started.
func (g *Group) Leases() map[backend.Lease]bool {
	held := make(map[backend.Lease]bool)
	for _, s := range g.shards {
		s.sessions.each(func(_ uint32, ss *session) {
			if ss.lease != 0 {
				held[ss.lease] = true
			}
		})
		for _, o := range s.outcomes.unreported {
			held[o.Lease] = true
		}
	}
	return held
}
