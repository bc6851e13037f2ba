package shard

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
)

var (
	// ErrStopped says that the shards have ended.
	ErrStopped = errors.New("the relay stops")
	// ErrBusy says that a shard's inbox stayed full.
	ErrBusy = errors.New("the shard is too busy to answer")
)

const (
	// maxVisits and maxViews bound what one letter may take of a loop: about
	// 50 microseconds, as long as it takes to relay a batch or two.
	maxVisits = 1024
	maxViews  = 128
	// A full inbox is tried again after firstRetry, then twice as long each
	// time; all in all for a second.
	firstRetry = time.Millisecond
	retries    = 10
)

// Place is where a walk stands; the zero Place is the beginning.
type Place struct {
	Shard int
	Index uint32
}

// Walk copies views of the sessions that are wanted, from a place on, and
// returns how many and where to go on; done at the end. It asks one shard for
// a bounded piece of work, so that an answer may be empty and not the last.
func (g *Group) Walk(ctx context.Context, from Place, dst []View, want Want) (n int, next Place, done bool, err error) {
	if from.Shard < 0 || from.Shard >= len(g.shards) {
		return 0, from, true, nil
	}
	dst = dst[:min(len(dst), maxViews)]
	next = from
	err = g.shards[from.Shard].ask(ctx, func(s *Shard) {
		var end bool
		if n, next.Index, end = s.walk(from.Index, dst, &want); end {
			next = Place{Shard: from.Shard + 1}
		}
	})
	return n, next, next.Shard == len(g.shards), err
}

// walk is a letter's part of Walk. Loop only.
func (s *Shard) walk(from uint32, dst []View, want *Want) (n int, next uint32, end bool) {
	all := uint64(len(s.sessions.chunks)) << chunkBits
	last := min(all, uint64(from)+maxVisits)
	for i := uint64(from); i < last; i++ {
		ss := s.sessions.at(uint32(i))
		if !s.wants(uint32(i), ss, want) {
			continue
		}
		if n == len(dst) {
			return n, uint32(i), false
		}
		s.look(uint32(i), ss, &dst[n])
		n++
	}
	return n, uint32(last), last == all || uint64(from) >= all
}

// Session copies the session of an ID; false when there is none any more.
func (g *Group) Session(ctx context.Context, id SessionID) (v View, found bool, err error) {
	err = g.visit(ctx, id, func(s *Shard, ss *Session) {
		s.look(id.Index, ss, &v)
		found = true
	})
	return v, found, err
}

// Kick ends a session by the operator's wish: both sides get a SHUTDOWN, or
// the caller of a pending handshake a rejection. False: there is nothing to
// end.
func (g *Group) Kick(ctx context.Context, id SessionID) (kicked bool, err error) {
	err = g.visit(ctx, id, func(s *Shard, ss *Session) {
		kicked = ss.state.alive()
		switch ss.state {
		case established:
			s.end(id.Index, ss, Kicked)
		case resolving, connecting:
			s.fail(id.Index, ss, handshake.CodeForbidden, backend.Unused)
		}
	})
	return kicked, err
}

// visit runs fn on the loop with the session of an ID, if there is one.
func (g *Group) visit(ctx context.Context, id SessionID, fn func(*Shard, *Session)) error {
	if id.Shard < 0 || id.Shard >= len(g.shards) || id.IsZero() {
		return nil
	}
	return g.shards[id.Shard].ask(ctx, func(s *Shard) {
		if uint64(id.Index) >= uint64(len(s.sessions.chunks))<<chunkBits {
			return
		}
		if ss := s.sessions.at(id.Index); ss.gen == id.Gen && ss.state != free {
			fn(s, ss)
		}
	})
}

// ask has the loop do something and waits until it is done. After an error it
// is not, and will not be.
func (s *Shard) ask(ctx context.Context, do func(*Shard)) error {
	var claimed atomic.Bool
	done := make(chan struct{})
	l := func(s *Shard) {
		if claimed.CompareAndSwap(false, true) {
			do(s)
			close(done)
		}
	}
	if err := s.deliver(ctx, l); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		if claimed.CompareAndSwap(false, true) {
			return ctx.Err() // the letter finds itself unwanted
		}
		// The loop is running it, which takes a bounded time.
		if !s.await(done) {
			return ErrStopped
		}
		return nil
	case <-s.inbox.gone:
		if !s.await(done) {
			return ErrStopped
		}
		return nil
	}
}

// await waits until what was handed to the loop is done. False: it will never
// be, for the loop has ended.
func (s *Shard) await(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	case <-s.inbox.gone:
	}
	select {
	case <-done: // before the loop ended
		return true
	default:
		return false
	}
}

// deliver posts a letter, again and again while the inbox is full.
func (s *Shard) deliver(ctx context.Context, l letter) error {
	wait := firstRetry
	for range retries {
		if s.inbox.post(l) {
			return nil
		}
		if s.inbox.ended() {
			return ErrStopped
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		wait *= 2
	}
	return ErrBusy
}
