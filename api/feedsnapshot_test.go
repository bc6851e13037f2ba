package api

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/golden"
	"srtrelay/internal/message"
)

// keptEvents returns all events that a feed keeps.
func (f *Feed) keptEvents() (all []answer.Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := f.oldest(); id < f.next; id++ {
		all = append(all, *f.at(id))
	}
	return all
}

// oneOfEach publishes an event with every field.
func oneOfEach(f *Feed) {
	shard := 0
	f.Publish(answer.Event{
		Time: time.Unix(2, 3456).UTC(), Kind: answer.EventSessionEnded, Shard: &shard, Session: "0.1.2", Stream: "live/\x01", Role: answer.RolePlayer,
		Caller: "10.0.0.1:9", Backend: "b", Address: "10.0.0.2:10080", Code: 1402, Reason: "r", Cause: "c", TookMillis: 1.001, Lost: 7,
	})
	f.Publish(answer.Event{Time: time.Unix(3, 0).UTC(), Kind: answer.EventMoreRejected})
}

// A feed that takes over goes on with the next ID, and its readers miss nothing.
func TestFeedTakesOver(t *testing.T) {
	for _, n := range []int{0, 1, 5, feedSize - 2, feedSize, feedSize + 1, 3*feedSize + 17} {
		old := NewFeed(time.Unix(1, 0))
		publish(old, n)
		oneOfEach(old)
		old.Hold()
		publish(old, 3) // after the moment that is handed on
		next := NewFeed(time.Unix(1000, 0))
		early := next.subscribe()
		publish(next, 2)
		next.Hold()
		publish(next, 2)
		if err := next.Restore(old.AppendSnapshot(nil)); err != nil {
			t.Fatal(err)
		}
		if got, want := next.keptEvents(), old.keptEvents(); !reflect.DeepEqual(got, want) || !next.began.Equal(old.began) {
			t.Fatalf("after %d: %d events, want %d", n, len(got), len(want))
		}
		seen := old.next - 2 // the last but one
		r := next.subscribe()
		r.resumeAfter(seen)
		publish(next, 5)
		if first, last, lost := r.all(t); first != seen+1 || last != seen+6 || lost != 0 {
			t.Errorf("after %d: a reader that has seen %d reads %d to %d, %d lost", n, seen, first, last, lost)
		}
		if first, _, lost := early.all(t); first != old.next || lost != 0 {
			t.Errorf("after %d: an early reader begins at %d, want %d", n, first, old.next)
		}
		// The process before resumes: its own events come, late.
		if old.Release(); old.next != seen+5 || len(old.held) > 0 {
			t.Errorf("after %d: the next ID is %d, want %d", n, old.next, seen+5)
		}
	}
}

// Fields that events have got since were lost in a take-over: limits, overload, migrations.
func TestEveryFieldOfAnEventIsHandedOn(t *testing.T) {
	var e answer.Event
	fields := reflect.ValueOf(&e).Elem()
	for i := range fields.NumField() {
		switch f := fields.Field(i).Addr().Interface().(type) {
		case *string:
			*f = fields.Type().Field(i).Name
		case *float64:
			*f = float64(i) + 0.5
		case *int:
			*f = i
		case *uint64:
			*f = uint64(i)
		case **int:
			*f = new(i)
		case *time.Time:
			*f = time.Unix(int64(i), 5).UTC()
		default:
			t.Fatalf("a field of type %T", f)
		}
	}
	old, next := NewFeed(time.Unix(1, 0)), NewFeed(time.Unix(2, 0))
	old.Publish(e)
	if err := next.Restore(old.AppendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
	if got, want := next.keptEvents(), old.keptEvents(); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// A process that has died in its probation has given IDs, and readers have them. The one that
// goes on gave them again, and those readers missed its events.
func TestEventIDsOfADeadProcessAreNotGivenAgain(t *testing.T) {
	for _, n := range []int{3, 2 * feedSize} {
		old := NewFeed(time.Unix(1, 0))
		publish(old, n)
		follower := NewFollower(old)
		follower.reader.next = old.next // it has had all
		old.Hold()
		dead := NewFeed(time.Unix(1000, 0))
		if err := dead.Restore(old.AppendSnapshot(nil)); err != nil {
			t.Fatal(err)
		}
		seenBefore, first := old.next-2, old.next
		publish(dead, 7)
		publish(old, 4)
		old.ReleaseAnew(time.Unix(1, 0))
		if old.next-4 < dead.next {
			t.Errorf("IDs from %d on, and the dead process has given those up to %d", old.next-4, dead.next-1)
		}
		for seen, want := range map[uint64]int{seenBefore: 5, first - 1: 4, first: 4, dead.next - 1: 4, old.next - 2: 1} {
			r := old.subscribe()
			r.resumeAfter(seen)
			from, last, lost := r.all(t)
			if last != old.next-1 || from != old.next-uint64(want) || lost != 0 {
				t.Errorf("a reader that has seen %d of %d reads %d to %d of %d, %d lost", seen, first, from, last, old.next-1, lost)
			}
			r.unsubscribe()
		}
		if from, _, lost := follower.reader.all(t); from != old.next-4 || lost != 0 {
			t.Errorf("the follower reads from %d, %d lost", from, lost)
		}
		if all := old.keptEvents(); all[0].ID != old.oldest() || all[len(all)-1].ID != old.next-1 {
			t.Errorf("%d to %d", all[0].ID, all[len(all)-1].ID)
		}
	}
}

// A follower, such as the event log, writes only the events of its own process: the one
// before has written its own.
func TestFollowerBeginsWithItsProcess(t *testing.T) {
	old := NewFeed(time.Unix(1, 0))
	publish(old, 10)
	next := NewFeed(time.Unix(2, 0))
	before := NewFollower(next)
	if err := next.Restore(old.AppendSnapshot(nil)); err != nil {
		t.Fatal(err)
	}
	after := NewFollower(next)
	publish(next, 3)
	for _, f := range []*Follower{before, after} {
		var got []uint64
		ctx, end := context.WithCancel(t.Context())
		end()
		f.Run(ctx, func(events []answer.Event, lost uint64) {
			for _, e := range events {
				got = append(got, e.ID)
			}
			if lost > 0 {
				t.Errorf("%d lost", lost)
			}
		})
		if want := []uint64{start + 10, start + 11, start + 12}; !slices.Equal(got, want) {
			t.Errorf("follows %v, want %v", got, want)
		}
	}
}

// What is held is bounded, and the oldest is dropped, as in the feed.
func TestHeldEventsAreBounded(t *testing.T) {
	f := NewFeed(time.Unix(1, 0))
	f.Hold()
	for i := range feedSize + 5 {
		f.Publish(answer.Event{Code: i})
	}
	f.Release()
	if all := f.keptEvents(); len(all) != feedSize || all[0].Code != 5 || all[0].ID != start {
		t.Errorf("%d events, the first %+v", len(all), all[0])
	}
}

// goldenFeed has a snapshot of version 1 as it was first written.
const goldenFeed = "testdata/feed-1.hex"

func TestGoldenFeed(t *testing.T) {
	old := NewFeed(time.Unix(1, 0))
	oneOfEach(old)
	good := golden.Hex(t, goldenFeed, func() []byte { return old.AppendSnapshot(nil) })
	next := NewFeed(time.Unix(5, 0))
	if err := next.Restore(good); err != nil {
		t.Fatal(err)
	}
	if got, want := next.keptEvents(), old.keptEvents(); !reflect.DeepEqual(got, want) || next.next != start+2 {
		t.Errorf("%+v, want %+v", got, want)
	}
	event := func(b []byte) []byte { return message.AppendBytes(b, feedEvent, "\x08") }
	for name, b := range map[string][]byte{
		"empty": nil, "other version": message.AppendVersion(nil, 99), "half": good[:len(good)/2],
		"no IDs": message.AppendVersion(nil, 1), "event too many": append(slices.Clone(good), message.AppendBytes(nil, feedEvent, "\x12\x01x")...),
		"bad event": event(message.AppendVersion(nil, 1)),
		"huge IDs":  message.AppendUint(message.AppendUint(message.AppendVersion(nil, 1), feedFirst, uint64(1<<60)), feedNext, uint64(1<<60)),
	} {
		f := NewFeed(time.Unix(7, 0))
		err := f.Restore(b)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the events: ") {
			t.Errorf("%s: %v", name, err)
		}
		if f.next != 7_000_000 {
			t.Errorf("%s: changed the feed", name)
		}
	}
}

func FuzzRestoreFeed(f *testing.F) {
	f.Add(golden.Hex(f, goldenFeed, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		feed := NewFeed(time.Unix(1, 0))
		if feed.Restore(b) != nil {
			return
		}
		publish(feed, 3)
		next := NewFeed(time.Unix(1, 0))
		if err := next.Restore(feed.AppendSnapshot(nil)); err != nil && feed.next <= 1<<53 {
			t.Fatal(err)
		}
	})
}
