package streams

import (
	"reflect"
	"testing"

	"srtrelay/shard"
)

func TestTracks(t *testing.T) {
	var ts tracks
	ids := []shard.SessionID{
		{Shard: 0, Index: 0, Gen: 1},
		{Shard: 0, Index: chunkSize - 1, Gen: 2},
		{Shard: 0, Index: 5 * chunkSize, Gen: 3},
		{Shard: 3, Index: 0, Gen: 1},
	}
	for _, id := range ids {
		ts.add(id).round = id.Gen
	}
	for _, id := range ids {
		if got := ts.of(id); got == nil || got.gen != id.Gen || got.round != id.Gen {
			t.Errorf("%v: %+v", id, got)
		}
	}
	for _, id := range []shard.SessionID{
		{},
		{Shard: -1, Gen: 1},
		{Shard: 1, Gen: 1},
		{Shard: 4, Gen: 1},
		{Shard: 0, Index: 0, Gen: 2},
		{Shard: 0, Index: 1, Gen: 1},
		{Shard: 0, Index: chunkSize, Gen: 1},
		{Shard: 0, Index: 1<<32 - 1, Gen: 1},
	} {
		if got := ts.of(id); got != nil {
			t.Errorf("%v: %+v", id, got)
		}
	}
	// The place's next session has a track of its own, and the place is used
	// once.
	ids[0].Gen = 9
	if next := ts.add(ids[0]); next.round != 0 || ts.shards[0][0].used != 2 {
		t.Errorf("%+v, %d used", next, ts.shards[0][0].used)
	}
	ts.sweep(func(t *track) bool { return t.gen == 3 })
	for i, id := range ids {
		if got := ts.of(id); (got != nil) != (i == 2) {
			t.Errorf("swept: %v: %+v", id, got)
		}
	}
	if ts.shards[0][0].tracks != nil || ts.shards[0][5].tracks == nil || ts.shards[3][0].tracks != nil {
		t.Error("a chunk is kept that nobody uses, or not kept")
	}
}

// No session has the zero ID, so that an unused track belongs to none.
func TestNobodysTrack(t *testing.T) {
	var ts tracks
	ts.add(shard.SessionID{Index: 1, Gen: 1})
	if got := ts.of(shard.SessionID{}); got != nil {
		t.Errorf("%+v", got)
	}
}

// A track is two cache lines, and a chunk no more than its tracks.
func TestTrackSize(t *testing.T) {
	if size := reflect.TypeFor[track]().Size(); size != 128 {
		t.Errorf("%d bytes", size)
	}
}
