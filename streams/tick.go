package streams

import (
	"context"
	"time"

	"srtrelay/shard"
)

// tick takes one sample of every session that carries media.
func (w *Watch) tick(ctx context.Context, now time.Time) error {
	w.round++
	since := w.ticked
	if since.IsZero() {
		since = now.Add(-step)
	}
	want := shard.Want{State: established, ActiveSince: since}
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
	w.ticked = now
	w.remember(now)
	return nil
}

// clock makes 8 bytes of a time's 24: since the Watch began.
func (w *Watch) clock(t time.Time) time.Duration { return t.Sub(w.began) }

// sample takes a slice of the walk. Only the tracks are others' to read; what
// follows from them is told when the lock is free again.
func (w *Watch) sample(views []shard.View) {
	w.mu.Lock()
	for i := range views {
		w.follow(&views[i])
	}
	w.mu.Unlock()
	for i := range views {
		v := &views[i]
		t := w.tracks.of(v.ID)
		caller, backend := legs(v)
		t.stream.second(w.round).add(v.Publish, &t.rates, caller, backend)
		w.heard.add(&t.rates, caller, backend)
	}
	w.heard.tell(w.observer)
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

// ratesOf returns the rates of the last second, zero for a session that
// carries no media.
func (w *Watch) ratesOf(id shard.SessionID) rates {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if t := w.tracks.of(id); t != nil {
		return t.rates
	}
	return rates{}
}
