package shard

import (
	"context"
	"fmt"
	"time"

	"srtrelay/observe/capture"
)

// Capture has the shards copy the datagrams that f wants, until stop is called
// or there is nothing more to come (capture.Capture.Ended). When it returns
// every session that f wants is copied from, and those that begin later will
// be. stop waits until the shards have let go; it may be called again.
func (g *Group) Capture(ctx context.Context, f capture.Filter, k capture.Keep) (c *capture.Capture, stop func(), err error) {
	for _, named := range f.Sessions {
		if named.Shard < 0 || named.Shard >= len(g.shards) {
			return nil, nil, fmt.Errorf("%w: %s", ErrNoSession, SessionID(named))
		}
	}
	c = capture.New(f, k, len(g.shards))
	now := time.Now()
	c.Origin = now.Add(-now.Sub(g.shards[0].origin))
	stop = func() {
		for _, s := range g.shards {
			s.untap(c.Tap(s.id))
		}
	}
	for _, s := range g.shards {
		if err := s.tapFor(ctx, c); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return c, stop, nil
}

// tapFor starts a capture on one shard. Any goroutine may call it.
func (s *Shard) tapFor(ctx context.Context, c *capture.Capture) error {
	t := c.Tap(s.id)
	if t == nil {
		return nil
	}
	var k, next int
	var failed error
	if err := s.ask(ctx, func(s *Shard) { k, failed = s.startTap(t, c.Filter) }); err != nil {
		return err
	}
	for failed == nil && len(c.Filter.Streams) > 0 {
		if err := s.ask(ctx, func(s *Shard) { next = s.markSlice(k, t, next) }); err != nil {
			return err
		}
		if next == 0 {
			break
		}
	}
	return failed
}

// untap ends a capture on one shard. Any goroutine may call it.
func (s *Shard) untap(t *capture.Tap) {
	var k, next int
	var found bool
	for again := t != nil && s.insist(func(s *Shard) { k, found = s.stopTap(t) }) && found; again; again = next != 0 {
		if !s.insist(func(s *Shard) { next = s.wipeSlice(k, next) }) {
			return
		}
	}
}

// insist has the loop do what it cannot refuse, and waits. False: the loop has
// ended.
func (s *Shard) insist(do func(*Shard)) bool {
	done := make(chan struct{})
	if !s.inbox.insist(func(s *Shard) { do(s); close(done) }) {
		return false
	}
	return s.await(done)
}
