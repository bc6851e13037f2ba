// Package streams makes what operators ask for of what shards count: rates of
// what only grows, legs of round trips, streams of sessions, and two minutes
// of history.
//
// It looks at the shards from outside, in bounded slices, and a slow reader
// costs them nothing. It must not know how a datagram is counted (telemetry)
// nor how an answer travels (api).
package streams

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"srtrelay/shard"
)

// Shards are what a Watch looks at.
type Shards interface {
	Walk(ctx context.Context, from shard.Cursor, dst []shard.View, want shard.Filter) (n int, next shard.Cursor, done bool, err error)
	Session(ctx context.Context, id shard.SessionID) (shard.View, bool, error)
	Kick(ctx context.Context, id shard.SessionID) (bool, error)
}

const (
	// step is how far samples are apart.
	step = time.Second
	// samplesPerStep is how many sessions may be sampled within a step, which
	// takes some 10 ms of a CPU. Where more carry media, samples are as many
	// steps apart, so that watching costs no more.
	samplesPerStep = 20_000
	// tickLimit ends a walk that takes too long for its sample to mean
	// anything: a shard that is overwhelmed has better things to do.
	tickLimit = 5 * step
)

// Watch looks at all sessions once a second, less often if many carry media. Run
// keeps it going; all other methods may be called from any goroutine.
type Watch struct {
	group    Shards
	observer Observer
	log      *slog.Logger

	mu        sync.RWMutex
	tracks    tracks
	streams   map[string]*stream
	histories int // that streams have
	leftOut   int
	ticked    time.Time // when the last samples were taken

	// Run's alone.
	views   []shard.View
	heard   heard
	round   uint32 // of 136 years
	sampled int    // sessions, in the last round

	began time.Time

	all *cache
}

// New makes a Watch. observer may be nil.
func New(group Shards, observer Observer, log *slog.Logger) *Watch {
	return &Watch{
		group: group, observer: observer, log: log,
		streams: make(map[string]*stream),
		views:   make([]shard.View, slice),
		began:   time.Now(),
		all:     newCache(),
	}
}

// Run takes samples until ctx ends.
func (w *Watch) Run(ctx context.Context) {
	every := time.NewTicker(step)
	defer every.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			if !w.due(now) {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, tickLimit)
			err := w.tick(limited, now)
			cancel()
			if err != nil && !failing && ctx.Err() == nil {
				w.log.Warn("no samples of the sessions", "error", err)
			}
			failing = err != nil
		}
	}
}

// Budget is what history takes and leaves out.
type Budget struct {
	Streams int // have a history
	LeftOut int // carried media in the last second, and have none
}

// Left returns how far the budget of history goes at present.
func (w *Watch) Left() Budget {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return Budget{Streams: w.histories, LeftOut: w.leftOut}
}

// slice is how many sessions are asked for at once.
const slice = 128

// walk calls fn for every session that is wanted, in slices. fn must not keep
// the slice.
func walk(ctx context.Context, group Shards, views []shard.View, want shard.Filter, fn func([]shard.View)) error {
	for at, done := (shard.Cursor{}), false; !done; {
		n, next, end, err := group.Walk(ctx, at, views, want)
		if err != nil {
			return err
		}
		if n > 0 {
			fn(views[:n])
		}
		at, done = next, end
	}
	return nil
}
