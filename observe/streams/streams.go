// Package streams computes what operators ask for from the shards' counters: rates, the
// RTT and loss of both legs, totals of streams, and two minutes of history.
//
// It reads the shards in bounded slices; a slow client of the API does not slow them. It
// must not know how a datagram is counted (telemetry) nor how an answer is sent (api).
package streams

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"srtrelay/shard"
)

// Shards are the shards that a Watch reads; see shard.Group.
type Shards interface {
	Walk(ctx context.Context, from shard.Cursor, dst []shard.View, want shard.Filter) (n int, next shard.Cursor, done bool, err error)
	Samples(ctx context.Context, from shard.Cursor, dst []shard.Sample, since time.Time) (n int, next shard.Cursor, done bool, err error)
	Session(ctx context.Context, id shard.SessionID) (shard.View, bool, error)
	Kick(ctx context.Context, id shard.SessionID) (bool, error)
}

const (
	// step is the time between samples.
	step = time.Second
	// samplesPerStep bounds the sessions sampled per step, to some 10 ms of CPU time.
	// If more have media, samples are several steps apart.
	samplesPerStep = 20_000
	// tickTimeout ends a walk that takes too long for its sample to mean anything. It
	// spares a shard that is overloaded.
	tickTimeout = 5 * step
)

// Watch samples all sessions once a second, less often if many have media. One goroutine
// calls Run; any goroutine may call the other methods.
type Watch struct {
	group    Shards
	observer Observer
	log      *slog.Logger

	mu        sync.RWMutex
	tracks    tracks
	streams   streamSet
	histories int       // streams with a history
	leftOut   int       // streams with media and without a history
	ticked    time.Time // when the last samples were taken
	// resuming means that the last samples are another process's, so that the tracks must
	// begin before there are rates.
	resuming bool

	// Used by Run only.
	samples  []shard.Sample
	observed observations
	round    uint32 // number of the sample; wraps after 136 years
	sampled  int    // sessions in the last round

	began time.Time

	all *cache
}

// New returns a Watch. observer may be nil.
func New(group Shards, observer Observer, log *slog.Logger) *Watch {
	return &Watch{
		group: group, observer: observer, log: log,
		samples: make([]shard.Sample, samplesAtOnce),
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
			limited, cancel := context.WithTimeout(ctx, tickTimeout)
			err := w.tick(limited, now)
			cancel()
			if err != nil && !failing && ctx.Err() == nil {
				w.log.Warn("cannot sample the sessions", "error", err)
			}
			failing = err != nil
		}
	}
}

// Histories returns how many streams have a history, and how many had media in the last
// second but have none because the memory for histories is used up.
func (w *Watch) Histories() (kept, leftOut int) {
	w.mu.RLock()
	defer w.mu.RUnlock()
	return w.histories, w.leftOut
}

// sliceSize is how many sessions one call of Walk returns, samplesAtOnce one of Samples.
const (
	sliceSize     = 128
	samplesAtOnce = 512
)

// walk calls fn with all sessions that want selects, in slices that are reused.
func walk(ctx context.Context, group Shards, views []shard.View, want shard.Filter, fn func([]shard.View)) error {
	return inSlices(views, fn, func(from shard.Cursor) (int, shard.Cursor, bool, error) {
		return group.Walk(ctx, from, views, want)
	})
}

// inSlices calls fill from the beginning to the end, and fn with what it has filled.
func inSlices[T any](slice []T, fn func([]T), fill func(from shard.Cursor) (n int, next shard.Cursor, done bool, err error)) error {
	for at, done := (shard.Cursor{}), false; !done; {
		n, next, end, err := fill(at)
		if err != nil {
			return err
		}
		if n > 0 {
			fn(slice[:n])
		}
		at, done = next, end
	}
	return nil
}
