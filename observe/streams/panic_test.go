package streams

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/internal/supervise"
	"srtrelay/observe/telemetry"
)

// fragile is an Observer that panics at first.
type fragile struct {
	panics  int
	heard   int // values of RTT
	samples int // calls with any
}

func (f *fragile) ObserveRTT(_ string, seconds ...float64) {
	if f.panics > 0 {
		f.panics--
		panic("boom")
	}
	f.heard += len(seconds)
}

func (f *fragile) ObserveLoss(_ string, ratios ...float64) {
	if len(ratios) > 0 {
		f.samples++
	}
}

// A panic while samples are taken costs a sample: nothing stays locked, and
// what was collected for the observer is not passed on twice.
func TestPanicOfAnObserver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		o := &fragile{panics: 2}
		r.Watch = New(r.shards, o, slog.New(slog.DiscardHandler))
		s := supervise.New(slog.New(slog.DiscardHandler))
		v := r.add(1, "v/a/s", true)
		v.Media = time.Now().Add(time.Hour)
		tasks := s.Tasks()
		ctx, cancel := context.WithCancel(t.Context())
		tasks.Loop(ctx, "samples", r.Run)
		for range 10 {
			r.shards.mu.Lock()
			v.Taken = time.Now()
			flow(v, telemetry.ToBackend, 100)
			r.shards.mu.Unlock()
			time.Sleep(step)
		}
		if got := r.ratesOf(v.ID); got.flow[telemetry.ToBackend].bits == 0 {
			t.Errorf("no rates: %+v", got)
		}
		cancel()
		tasks.Wait()
		if o.panics > 0 || s.Counts()[0].Panics != 2 {
			t.Errorf("%+v, %v", o, s.Counts())
		}
		if len(r.observed.callerRTT)+len(r.observed.callerLoss) > 0 {
			t.Errorf("left to be told: %+v", r.observed)
		}
	})
}
