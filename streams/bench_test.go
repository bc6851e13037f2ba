package streams

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/shard"
	"srtrelay/telemetry"
)

// array is a shard of nothing but views, as quick as one can be.
type array []shard.View

func (a array) Walk(_ context.Context, from shard.Place, dst []shard.View, _ shard.Want) (int, shard.Place, bool, error) {
	n := copy(dst, a[from.Index:])
	from.Index += uint32(n)
	return n, from, int(from.Index) == len(a), nil
}

func (a array) Session(context.Context, shard.SessionID) (shard.View, bool, error) {
	return shard.View{}, false, nil
}

func (a array) Kick(context.Context, shard.SessionID) (bool, error) { return false, nil }

// What a second costs beside the shards, with a hundred thousand sessions that
// all carry media, ten to a stream; and what a look at all streams costs.
func BenchmarkHundredThousand(b *testing.B) {
	all := make(array, 100_000)
	now := time.Now()
	for i := range all {
		v := &all[i]
		v.ID = shard.SessionID{Index: uint32(i), Gen: 1}
		v.State, v.Key, v.Publish = established, fmt.Sprint("__defaultVhost__/live/", i/10), i%10 == 0
		v.Begun, v.Taken = now, now
		v.Ways[telemetry.ToCaller].Packets = 1
	}
	w := New(all, nil, slog.New(slog.DiscardHandler))
	b.Run("tick", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			now = now.Add(step)
			for i := range all {
				all[i].Taken = now
				all[i].ToCaller.Bytes += 1000
			}
			if err := w.tick(b.Context(), now); err != nil {
				b.Fatal(err)
			}
		}
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
