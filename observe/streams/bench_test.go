package streams

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/observe/metrics"
	"srtrelay/observe/telemetry"
	"srtrelay/shard"
)

// sources are a shard of nothing but sessions that all carry media, ten to a
// stream, as quick as one can be: each view is made of a few values, so that
// what is measured is the Watch and not the memory of a hundred thousand
// views.
type sources struct {
	keys              []string
	publisher, player shard.View
	now               time.Time
}

const perStream = 10

func newSources(sessions int) *sources {
	const ms = time.Millisecond
	s := &sources{now: time.Now()}
	for i := range sessions / perStream {
		s.keys = append(s.keys, fmt.Sprint("__defaultVhost__/live/", i))
	}
	s.publisher.State, s.player.State = established, established
	s.publisher.Publish = true
	s.publisher.Begun, s.player.Begun = s.now, s.now
	timed(&s.publisher, telemetry.ToBackend, 30*ms, 50*ms)
	timed(&s.player, telemetry.ToCaller, 30*ms, 50*ms)
	return s
}

// pass lets a second go by, in which everybody sends a hundred packets and
// loses one.
func (s *sources) pass() {
	s.now = s.now.Add(step)
	for v, way := range map[*shard.View]telemetry.Way{&s.publisher: telemetry.ToBackend, &s.player: telemetry.ToCaller} {
		flow(v, way, 100)
		v.Ways[way].LostBefore++
		v.Ways[way].Retransmitted++
		v.Taken, v.Media = s.now, s.now
	}
}

func (s *sources) Walk(_ context.Context, from shard.Cursor, dst []shard.View, _ shard.Filter) (int, shard.Cursor, bool, error) {
	all := len(s.keys) * perStream
	n := min(len(dst), all-int(from.Index))
	for i := range dst[:n] {
		at := int(from.Index) + i
		v := &dst[i]
		if *v = s.player; at%perStream == 0 {
			*v = s.publisher
		}
		v.ID, v.Key = shard.SessionID{Index: uint32(at), Gen: 1}, s.keys[at/perStream]
	}
	from.Index += uint32(n)
	return n, from, int(from.Index) == all, nil
}

func (s *sources) Samples(_ context.Context, from shard.Cursor, dst []shard.Sample, _ time.Time) (int, shard.Cursor, bool, error) {
	all := len(s.keys) * perStream
	n := min(len(dst), all-int(from.Index))
	for i := range dst[:n] {
		at := int(from.Index) + i
		v := &dst[i]
		if *v = s.player.Sample; at%perStream == 0 {
			*v = s.publisher.Sample
		}
		v.ID, v.Key = shard.SessionID{Index: uint32(at), Gen: 1}, s.keys[at/perStream]
	}
	from.Index += uint32(n)
	return n, from, int(from.Index) == all, nil
}

func (s *sources) Session(context.Context, shard.SessionID) (shard.View, bool, error) {
	return shard.View{}, false, nil
}

func (s *sources) Kick(context.Context, shard.SessionID) (bool, error) { return false, nil }

// heap is what is in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// What a second costs beside the shards, with a hundred thousand sessions that
// all carry media, ten to a stream; and what a look at all streams costs.
func BenchmarkHundredThousand(b *testing.B) {
	const sessions = 100_000
	s := newSources(sessions)
	before := heap()
	w := New(s, metrics.NewQuality(), slog.New(slog.DiscardHandler))
	second := func(b *testing.B) {
		s.pass()
		if err := w.tick(b.Context(), s.now); err != nil {
			b.Fatal(err)
		}
	}
	second(b)
	followed := float64(heap()-before-sessions/perStream*historySize) / sessions
	b.Run("tick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			second(b)
		}
		b.ReportMetric(followed, "B/session")
	})
	b.Run("totals", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.sumUp(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := w.Streams(b.Context(), answer.StreamQuery{Limit: 100}); err != nil {
				b.Fatal(err)
			}
		}
	})
}
