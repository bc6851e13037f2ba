package streams

import (
	"context"
	"time"

	"srtrelay/shard"
)

// due reports whether the next samples are.
func (w *Watch) due(now time.Time) bool {
	apart := time.Duration(1+w.sampled/samplesPerStep) * step
	return now.Sub(w.ticked) > apart-step/2 // tickers tremble
}

// tick takes one sample of every session that carries media.
func (w *Watch) tick(ctx context.Context, now time.Time) error {
	w.round++
	w.sampled = 0
	since := w.ticked
	if since.IsZero() {
		since = now.Add(-step)
	}
	want := shard.Filter{State: established, ActiveSince: since}
	if err := walk(ctx, w.group, w.views, want, w.sample); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.clock(now)
	w.tracks.sweep(func(t *track) bool {
		idle := w.round - t.round
		if idle > 0 {
			t.rest(at)
		}
		return idle <= idleRounds
	})
	steps := w.stepsTo(now)
	w.ticked = now
	w.remember(now, steps)
	return nil
}

// stepsTo is for how many steps a sample stands: those since the one before.
func (w *Watch) stepsTo(now time.Time) int {
	if w.ticked.IsZero() {
		return 1
	}
	return int(min(max(now.Sub(w.ticked).Round(step)/step, 1), historyLength))
}

// clock makes 8 bytes of a time's 24: since the Watch began.
func (w *Watch) clock(t time.Time) time.Duration { return t.Sub(w.began) }

// sample takes a slice of the walk. Only the tracks are others' to read; what
// follows from them is told when the lock is free again.
func (w *Watch) sample(views []shard.View) {
	w.followAll(views)
	for i := range views {
		v := &views[i]
		t := w.tracks.of(v.ID)
		caller, backend := legs(v)
		t.stream.second(w.round).add(v.Publish, &t.rates, caller, backend)
		w.heard.add(&t.rates, caller, backend)
	}
	w.heard.tell(w.observer)
	w.sampled += len(views)
}

// followAll takes the samples of a slice.
func (w *Watch) followAll(views []shard.View) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range views {
		w.follow(&views[i])
	}
}

// follow takes one session's sample. Called with mu held.
func (w *Watch) follow(v *shard.View) {
	t := w.tracks.of(v.ID)
	if t == nil {
		t = w.begin(v)
	}
	t.follow(v, w.clock(v.Taken), w.round)
}

// begin makes a track of a session that was not followed. One that began after
// the last sample counts from its beginning, when it had carried nothing.
func (w *Watch) begin(v *shard.View) *track {
	t := w.tracks.add(v.ID)
	t.stream = w.stream(v.Key)
	if !w.ticked.IsZero() && !v.Begun.Before(w.ticked) {
		t.at = w.clock(v.Begun)
	} else {
		t.at = w.clock(v.Taken)
		t.passBoth(v)
	}
	return t
}

// ratesOf returns the rates at the last sample, zero for a session that
// carries no media.
func (w *Watch) ratesOf(id shard.SessionID) rates {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if t := w.tracks.of(id); t != nil {
		return t.rates
	}
	return rates{}
}
