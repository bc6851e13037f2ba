package streams

import (
	"context"
	"time"

	"srtrelay/api/answer"

	"srtrelay/shard"
)

// due reports whether it is time for the next sample.
func (w *Watch) due(now time.Time) bool {
	apart := time.Duration(1+w.sampled/samplesPerStep) * step
	return now.Sub(w.ticked) > apart-step/2 // a ticker is not exact
}

// tick samples every session with media.
func (w *Watch) tick(ctx context.Context, now time.Time) error {
	w.round++
	w.sampled = 0
	since := w.ticked
	if since.IsZero() {
		since = now.Add(-step)
	}
	each := func(fn func([]shard.Sample)) error {
		return inSlices(w.samples, fn, func(from shard.Cursor) (int, shard.Cursor, bool, error) {
			return w.group.Samples(ctx, from, w.samples, since)
		})
	}
	if w.resuming {
		w.resuming = false
		return each(w.followAll)
	}
	if err := each(w.sample); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.clock(now)
	w.tracks.sweep(func(t *track) bool {
		idle := w.round - t.round
		if idle > 0 {
			t.idle(at)
		}
		return idle <= idleRounds
	})
	steps := w.stepsTo(now)
	w.ticked = now
	w.record(now, steps)
	return nil
}

// stepsTo returns how many steps have passed since the last sample.
func (w *Watch) stepsTo(now time.Time) int {
	if w.ticked.IsZero() {
		return 1
	}
	return int(min(max(now.Sub(w.ticked).Round(step)/step, 1), historyLength))
}

// wallTime returns the present time, by a clock that no setting of the host's changes.
func (w *Watch) wallTime() time.Time { return w.began.Add(time.Since(w.began)).UTC() }

// clock returns the time since the Watch was made, in 8 bytes instead of a time's 24.
func (w *Watch) clock(t time.Time) time.Duration { return t.Sub(w.began) }

// sample samples a slice of sessions. It holds the lock while it updates the tracks, and
// not while it calls the observer.
func (w *Watch) sample(samples []shard.Sample) {
	w.followAll(samples)
	for i := range samples {
		v := &samples[i]
		t := w.tracks.of(v.ID)
		caller, backend := roundTrips(v)
		t.stream.second(w.round).add(v.Publish, &t.rates, caller, backend)
		w.observed.add(&t.rates, caller, backend)
	}
	w.observed.report(w.observer)
	w.sampled += len(samples)
}

// followAll updates the tracks of a slice of sessions.
func (w *Watch) followAll(samples []shard.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range samples {
		w.follow(&samples[i])
	}
}

// follow updates the track of one session. Called with mu held.
func (w *Watch) follow(v *shard.Sample) {
	t := w.tracks.of(v.ID)
	if t == nil {
		t = w.begin(v)
	}
	t.follow(v, w.clock(v.Taken), w.round)
}

// begin makes the track of a session. If the session began after the last sample, its
// rates count from its beginning, when all counters were 0.
func (w *Watch) begin(v *shard.Sample) *track {
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

// ratesOf returns the rates at the last sample, zeros for a session without media.
func (w *Watch) ratesOf(id shard.SessionID) rates {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if t := w.tracks.of(id); t != nil {
		return t.rates
	}
	return rates{}
}

// Observer receives the quality of all sessions with media at each sample, those of
// many sessions at a time. side is answer.LegCaller or answer.LegBackend. One goroutine
// makes all calls; the values are valid during the call only.
type Observer interface {
	ObserveRTT(side string, seconds ...float64)
	ObserveLoss(side string, ratios ...float64)
}

// observations collects the quality of a slice of sessions. Its memory is reused for the
// next slice.
type observations struct {
	callerRTT, backendRTT, callerLoss, backendLoss []float64
}

// add adds one session's sample.
func (o *observations) add(r *rates, caller, backend roundTrip) {
	if caller.known {
		o.callerRTT = append(o.callerRTT, caller.rtt.Seconds())
	}
	if backend.known {
		o.backendRTT = append(o.backendRTT, backend.rtt.Seconds())
	}
	if r.caller.known() {
		o.callerLoss = append(o.callerLoss, r.caller.share())
	}
	if r.backend.known() {
		o.backendLoss = append(o.backendLoss, r.backend.share())
	}
}

// report passes everything to the observer, and empties the observations.
func (o *observations) report(to Observer) {
	lent := *o
	*o = observations{o.callerRTT[:0], o.backendRTT[:0], o.callerLoss[:0], o.backendLoss[:0]}
	if to != nil {
		to.ObserveRTT(answer.LegCaller, lent.callerRTT...)
		to.ObserveRTT(answer.LegBackend, lent.backendRTT...)
		to.ObserveLoss(answer.LegCaller, lent.callerLoss...)
		to.ObserveLoss(answer.LegBackend, lent.backendLoss...)
	}
}
