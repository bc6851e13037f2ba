package streams

import (
	"log/slog"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/metrics"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// succeed has a session end and another begin in its place.
func (r *rig) succeed(old *shard.View, key string) *shard.View {
	delete(r.shards.views, old.ID)
	v := r.add(old.ID.Index, key, old.Publish)
	delete(r.shards.views, v.ID)
	v.ID.Gen = old.ID.Gen + 1
	r.shards.views[v.ID] = v
	return v
}

// An index is used again, and its next session inherits nothing: neither rates
// nor counts nor stream.
func TestSuccessorInheritsNothing(t *testing.T) {
	r := newRig(t)
	old := r.add(1, "live/a", true)
	r.pass(old)
	flow(old, telemetry.ToBackend, 100)
	old.Ways[telemetry.ToBackend].LostBefore = 25
	r.pass(old)
	if s := r.one(old); !near(s.ToBackend.PacketRate, 100) || shown(s.CallerLeg.LossPercent) != "20.000" {
		t.Fatalf("%+v, %s", s.ToBackend, shown(s.CallerLeg.LossPercent))
	}
	v := r.succeed(old, "live/b")
	if s := r.one(v); s.ToBackend.Bitrate != 0 || s.ToBackend.PacketRate != 0 || s.CallerLeg.LossPercent != nil {
		t.Errorf("inherited %+v, %s", s.ToBackend, shown(s.CallerLeg.LossPercent))
	}
	// It has carried more than the old one, but not in this second.
	v.Begun = began.Add(-time.Minute)
	flow(v, telemetry.ToBackend, 1000)
	r.pass(v)
	if s := r.one(v); s.ToBackend.Bitrate != 0 || s.CallerLeg.LossPercent != nil {
		t.Errorf("%v bit/s, loss %s at once", s.ToBackend.Bitrate, shown(s.CallerLeg.LossPercent))
	}
	flow(v, telemetry.ToBackend, 10)
	r.pass(v)
	if s := r.one(v); !near(s.ToBackend.PacketRate, 10) || shown(s.CallerLeg.LossPercent) != "0.000" {
		t.Errorf("%+v, %s", s.ToBackend, shown(s.CallerLeg.LossPercent))
	}
	if r.ratesOf(old.ID) != (rates{}) || r.followed() != 1 {
		t.Errorf("the old one: %+v, %d followed", r.ratesOf(old.ID), r.followed())
	}
	if a, b := r.historyOf("live/a", 1), r.historyOf("live/b", 1); *a.BitrateIn[0] != 0 || !near(*b.BitrateIn[0], 10*1332*8) {
		t.Errorf("%s bit/s in the old stream, %s in the new", shown(a.BitrateIn[0]), shown(b.BitrateIn[0]))
	}
}

// A stream without sessions is silent, then forgotten; and a session that
// comes after that makes it anew.
func TestStreamWithoutSessions(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	r.pass(v)
	delete(r.shards.views, v.ID)
	for range historyLength - 1 {
		r.pass()
	}
	if h := r.historyOf("live/a", historyLength); h == nil || *h.BitrateIn[historyLength-1] != 0 || r.followed() != 0 {
		t.Errorf("after two minutes less a second: %+v, %d followed", h, r.followed())
	}
	r.pass()
	if len(r.streams.list) != 0 || r.historyUse() != (historyUse{}) {
		t.Errorf("%d streams, %+v", len(r.streams.list), r.historyUse())
	}
	v = r.succeed(v, "live/a")
	r.pass(v)
	flow(v, telemetry.ToBackend, 10)
	r.pass(v)
	if h := r.historyOf("live/a", historyLength); h == nil || len(h.BitrateIn) != 2 || !near(*h.BitrateIn[1], 10*1332*8) {
		t.Errorf("%+v", h)
	}
}

// A stream beyond the budget is known for as long as its sessions' tracks
// point to it, and no longer.
func TestStreamWithoutHistory(t *testing.T) {
	r := newRig(t)
	r.histories = maxHistories
	a, b := r.add(1, "live/a", true), r.add(2, "live/a", false)
	r.pass(a, b)
	for range idleRounds {
		r.pass(b)
		if of := r.tracks.of(b.ID).stream; of != r.streams.byKey["live/a"] {
			t.Fatal("a track points to a stream that is not known")
		}
	}
	r.pass()
	if r.followed() != 1 || len(r.streams.list) != 1 {
		t.Errorf("%d followed, %d streams", r.followed(), len(r.streams.list))
	}
	for range idleRounds {
		r.pass()
	}
	if r.followed() != 0 || len(r.streams.list) != 0 {
		t.Errorf("%d followed, %d streams", r.followed(), len(r.streams.list))
	}
}

// A sample that failed midway does not count twice.
func TestHalfASample(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	r.pass(v)
	flow(v, telemetry.ToBackend, 100)
	r.round++
	v.Taken = r.now.Add(step / 2)
	r.sample([]shard.Sample{v.Sample})
	flow(v, telemetry.ToBackend, 50)
	r.pass(v)
	if h := r.historyOf("live/a", 1); !near(*h.BitrateIn[0], 100*1332*8) {
		t.Errorf("%s bit/s, want 50 packets in half a second", shown(h.BitrateIn[0]))
	}
}

// What has been counted for days is followed as exactly as what began now.
func TestRatesPast32Bits(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	const most = 1<<32 - 50
	flow(v, telemetry.ToBackend, most)
	v.Ways[telemetry.ToBackend].LostBefore = 1<<32 - 1
	r.pass(v)
	flow(v, telemetry.ToBackend, 100)
	v.Ways[telemetry.ToBackend].LostBefore += 25
	r.pass(v)
	if s := r.one(v); !near(s.ToBackend.PacketRate, 100) || !near(s.ToBackend.Bitrate, 100*1332*8) || shown(s.CallerLeg.LossPercent) != "20.000" {
		t.Errorf("%+v, %s", s.ToBackend, shown(s.CallerLeg.LossPercent))
	}
}

// Once everybody is known, a second takes nothing from the heap.
func TestTickAllocatesNothing(t *testing.T) {
	s := newSources(1000)
	w := New(s, metrics.NewQuality(), slog.New(slog.DiscardHandler))
	second := func() {
		s.pass()
		if err := w.tick(t.Context(), s.now); err != nil {
			t.Fatal(err)
		}
	}
	second()
	if n := testing.AllocsPerRun(10, second); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// And it was no empty one.
	list, err := w.Streams(t.Context(), answer.StreamQuery{Limit: 1})
	if err != nil || list.Total != 100 || !near(list.Streams[0].BitrateOut, 9*100*1332*8) || list.Streams[0].CallerLoss == nil {
		t.Errorf("%+v, %v", list, err)
	}
}

// What watching costs is bounded: of many sessions samples are further apart.
func TestManySessionsAreSampledLessOften(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	r.pass(v)
	if r.sampled != 1 || r.due(r.now) || !r.due(r.now.Add(step)) {
		t.Errorf("%d sampled: due at once %v, a step later %v", r.sampled, r.due(r.now), r.due(r.now.Add(step)))
	}
	r.sampled = 2*samplesPerStep + 1
	for _, c := range []struct {
		after time.Duration
		due   bool
	}{{step, false}, {2 * step, false}, {3*step - step/10, true}, {3 * step, true}} {
		if got := r.due(r.now.Add(c.after)); got != c.due {
			t.Errorf("%d sampled, after %v: due %v", r.sampled, c.after, got)
		}
	}
}

// A sample stands for all the seconds since the one before, so that history
// keeps its time.
func TestSampleStandsForTheStepsSinceTheLast(t *testing.T) {
	r := newRig(t)
	v := r.add(1, "live/a", true)
	r.pass(v)
	flow(v, telemetry.ToBackend, 300)
	r.now = r.now.Add(2 * step) // nobody looked
	r.pass(v)
	h := r.historyOf("live/a", historyLength)
	if len(h.BitrateIn) != 4 {
		t.Fatalf("%d samples of 4 s", len(h.BitrateIn))
	}
	for i, want := range []float64{0, 100 * 1332 * 8, 100 * 1332 * 8, 100 * 1332 * 8} {
		if got := h.BitrateIn[i]; got == nil || !near(*got, want) {
			t.Errorf("second %d: %s bit/s, want %v", i, shown(got), want)
		}
	}
	r.now = r.now.Add(2 * step)
	r.pass()
	if h := r.historyOf("live/a", historyLength); len(h.BitrateIn) != 7 || *h.BitrateIn[4] != 0 {
		t.Errorf("%d samples of 7 s, %s in silence", len(h.BitrateIn), shown(h.BitrateIn[4]))
	}
}
