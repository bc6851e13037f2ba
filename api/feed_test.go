package api

import (
	"context"
	"strconv"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// publish makes n events that are numbered in Code.
func publish(f *Feed, n int) {
	for range n {
		f.Publish(answer.Event{Kind: answer.EventSessionBegun})
	}
}

// all takes everything there is, and checks that it has no gap.
func (r *feedReader) all(t *testing.T) (first, last, lost uint64) {
	t.Helper()
	batch := make([]answer.Event, 100)
	for {
		n, l := r.read(batch)
		lost += l
		for _, e := range batch[:n] {
			if last != 0 && e.ID != last+1 {
				t.Fatalf("event %d after %d", e.ID, last)
			}
			if last = e.ID; first == 0 {
				first = e.ID
			}
		}
		if n < len(batch) {
			return first, last, lost
		}
	}
}

const start = 1_000_000 // the microseconds of second 1

func TestFeedKeepsTheLast(t *testing.T) {
	for _, c := range []struct {
		before, while     int // published before and after the reader came
		first, last, lost uint64
	}{
		{0, 0, 0, 0, 0},
		{5, 0, 0, 0, 0},
		{0, 1, start, start, 0},
		{5, 3, start + 5, start + 7, 0},
		{0, feedSize, start, start + feedSize - 1, 0},
		{0, feedSize + 1, start + 1, start + feedSize, 1},
		{7, 3 * feedSize, start + 7 + 2*feedSize, start + 6 + 3*feedSize, 2 * feedSize},
	} {
		f := NewFeed(time.Unix(1, 0))
		publish(f, c.before)
		r := f.subscribe()
		publish(f, c.while)
		if first, last, lost := r.all(t); first != c.first || last != c.last || lost != c.lost {
			t.Errorf("%d and %d: %d to %d, %d lost; want %d to %d, %d", c.before, c.while, first, last, lost, c.first, c.last, c.lost)
		}
		publish(f, 1)
		if first, _, lost := r.all(t); first != start+uint64(c.before+c.while) || lost != 0 {
			t.Errorf("%d and %d: then %d, %d lost", c.before, c.while, first, lost)
		}
	}
}

func TestFeedGoesBack(t *testing.T) {
	for _, c := range []struct {
		published         int
		after             uint64
		first, last, lost uint64
	}{
		{0, 0, 0, 0, 0},
		{0, start, 0, 0, 0},
		{3, 0, start, start + 2, 0},
		{3, start, start + 1, start + 2, 0},
		{3, start + 2, 0, 0, 0},
		// Of a life of the relay before or, with a clock set back, after.
		{3, start - 1, start, start + 2, 0},
		{3, start + 3, start, start + 2, 0},
		{3, ^uint64(0), start, start + 2, 0},
		{feedSize + 10, start + 4, start + 10, start + feedSize + 9, 5},
		{feedSize + 10, start - 4, start + 10, start + feedSize + 9, 0},
	} {
		f := NewFeed(time.Unix(1, 0))
		publish(f, c.published)
		r := f.subscribe()
		r.resumeAfter(c.after)
		if first, last, lost := r.all(t); first != c.first || last != c.last || lost != c.lost {
			t.Errorf("%d after %d: %d to %d, %d lost; want %d to %d, %d", c.published, c.after, first, last, lost, c.first, c.last, c.lost)
		}
	}
}

func TestFeedReadersAreBounded(t *testing.T) {
	f := NewFeed(time.Unix(1, 0))
	var last *feedReader
	for i := range maxFeedReaders {
		if last = f.subscribe(); last == nil {
			t.Fatalf("reader %d refused", i)
		}
	}
	if f.subscribe() != nil {
		t.Error("one reader too many")
	}
	last.unsubscribe()
	if f.subscribe() == nil {
		t.Error("a place that was left is not free")
	}
}

// IDs grow over restarts, and JavaScript can hold them.
func TestFeedNumbers(t *testing.T) {
	at := time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	if id := NewFeed(at).next; id <= NewFeed(at.Add(-time.Second)).next || id >= 1<<53 {
		t.Error("first ID " + strconv.FormatUint(id, 10))
	}
	if NewFeed(time.Unix(-5, 0)).next == 0 {
		t.Error("0 stands for no event")
	}
}

// Publishing costs the same however far behind the readers are, and wakes each.
func TestFeedNeverWaits(t *testing.T) {
	f := NewFeed(time.Unix(1, 0))
	readers := make([]*feedReader, maxFeedReaders)
	for i := range readers {
		readers[i] = f.subscribe()
	}
	if n := testing.AllocsPerRun(2*feedSize, func() { f.Publish(answer.Event{}) }); n != 0 {
		t.Errorf("%v allocations per event", n)
	}
	for _, r := range readers {
		<-r.wake
	}
}

// A follower gets all events from the first one kept on, learns of those that were
// overwritten while it was busy, and ends with the last one.
func TestFollower(t *testing.T) {
	f := NewFeed(time.Unix(1, 0))
	tell := func(n int) {
		for range n {
			f.Publish(answer.Event{Kind: answer.EventRulesChanged})
		}
	}
	tell(3)
	follower := NewFollower(f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got, missed uint64
	follower.Run(ctx, func(events []answer.Event, lost uint64) {
		for _, e := range events {
			got++
			if want := f.first + got + missed + lost - 1; e.ID != want {
				t.Fatalf("event %d, want %d", e.ID, want)
			}
		}
		missed += lost
		switch {
		case got == 3 && missed == 0:
			tell(feedSize + 7)
		case missed > 0 && ctx.Err() == nil:
			cancel()
			tell(1)
		}
	})
	if got != 3+feedSize+1 || missed != 7 {
		t.Errorf("%d events, %d missed", got, missed)
	}
}
