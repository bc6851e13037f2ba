package backend

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Heartbeats and answers of 200 backends every second make a few snapshots, not
// four hundred a second, and no backend is late before its time.
func TestHeartbeatsMakeFewSnapshots(t *testing.T) {
	const backends, seconds = 200, 60
	r := NewRegistry()
	made := 0
	last := r.Snapshot()
	for s := range seconds {
		for i := range backends {
			now := noon.Add(time.Duration(s)*time.Second + time.Duration(i)*time.Millisecond)
			id := heard(t, r, server(fmt.Sprint("vid", i), "s"), fmt.Sprintf("10.0.0.1:%d", i+1), now).Backend.ID
			r.MarkAlive(id, 2, now)
			if r.Snapshot() != last {
				made, last = made+1, r.Snapshot()
			}
			if s > 0 && find(t, r, id).Expires.Before(now.Add(ttl)) {
				t.Fatalf("second %d: %s would be late before its time", s, id)
			}
		}
	}
	// Two each for the first heartbeat and answer, then one per step.
	if limit := 2*backends + seconds; made > limit {
		t.Errorf("%d snapshots, want at most %d", made, limit)
	}
	for _, b := range r.Snapshot().Backends {
		if end := noon.Add(seconds * time.Second); !b.Late(end.Add(ttl + ttl/expiresParts)) {
			t.Errorf("%s is good until %v", b.ID, b.Expires)
		}
	}
}

func TestExpire(t *testing.T) {
	r := NewRegistry()
	r.Put(numbered("static", 1))
	r.Put(Backend{ID: "shared", Source: SourceShared, Expires: noon})
	id := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon).Backend.ID
	heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon.Add(time.Second)) // makes no snapshot
	keep := time.Minute
	for _, c := range []struct {
		at   time.Duration
		gone []ID
	}{
		{keep, nil},
		{keep + 1, []ID{"shared"}},
		{time.Second + ttl + keep, nil},
		{time.Second + ttl + keep + 1, []ID{id}},
		{time.Hour * 1e4, nil},
	} {
		var gone []ID
		for _, b := range r.Expire(noon.Add(c.at), keep) {
			gone = append(gone, b.ID)
		}
		if !slices.Equal(gone, c.gone) {
			t.Errorf("after %v: %v, want %v", c.at, gone, c.gone)
		}
	}
	expectIDs(t, r, "static")
}

func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		begin := time.Now()
		heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", begin)
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		gone := make(chan time.Duration)
		loop.Go(func() { r.RunExpiry(ctx, notInUse, func(Backend, string) { gone <- time.Since(begin) }) })
		if after := <-gone; after <= ttl+keepLate || after > ttl+keepLate+expireInterval {
			t.Errorf("gone after %v", after)
		}
		cancel()
		loop.Wait()
	})
}
