package metrics

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
	"srtrelay/handshake"
	"srtrelay/internal/golden"
	"srtrelay/internal/message"
	"srtrelay/shard"
)

// counted returns what a relay has counted, and its metrics as text.
func counted(t testing.TB, more func(*Quality, *Events)) (*Quality, *Events, string) {
	t.Helper()
	q, e := NewQuality(), NewEvents()
	if more != nil {
		more(q, e)
	}
	r := prometheus.NewRegistry()
	r.MustRegister(append(e.collectors(), q)...)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return q, e, fmt.Sprint(families)
}

func some(q *Quality, e *Events) {
	q.ObserveRTT(answer.LegCaller, .02, .3, 9)
	q.ObserveLoss(answer.LegBackend, 0, .03)
	e.Count(shard.Event{Kind: shard.EventSessionBegun, Took: 30 * time.Millisecond})
	e.Count(shard.Event{Kind: shard.EventSessionEnded, Took: time.Hour, Cause: shard.CauseIdle})
	e.Count(shard.Event{Kind: shard.EventCallerRejected, Code: handshake.CodeDown})
	e.Count(shard.Event{Kind: shard.EventCallerRejected, Code: 9999})
}

// goldenSnapshot has a snapshot of version 1 as it was first written.
const goldenSnapshot = "testdata/snapshot-1.hex"

// Counters of a process that takes over go on.
func TestCountersGoOn(t *testing.T) {
	q, e, want := counted(t, some)
	good := golden.Hex(t, goldenSnapshot, func() []byte { return AppendSnapshot(nil, q, e) })
	for name, b := range map[string][]byte{"golden": good, "present": AppendSnapshot(nil, q, e)} {
		_, _, got := counted(t, func(q *Quality, e *Events) {
			if err := Restore(b, q, e); err != nil {
				t.Fatal(err)
			}
		})
		if got != want {
			t.Errorf("%s: reads\n%s\nwant\n%s", name, got, want)
		}
	}
	_, _, none := counted(t, nil)
	for name, b := range map[string][]byte{
		"empty": nil, "other version": message.AppendVersion(nil, 99), "half": good[:len(good)/2],
		"bad last field": append(slices.Clone(good), message.AppendBytes(nil, metricsCounter, "\x08")...),
	} {
		_, _, got := counted(t, func(q *Quality, e *Events) {
			err := Restore(b, q, e)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the metrics: ") {
				t.Errorf("%s: %v", name, err)
			}
		})
		if got != none {
			t.Errorf("%s: changed the metrics", name)
		}
	}
}

// A histogram whose buckets have changed starts anew; the others go on.
func TestOtherBuckets(t *testing.T) {
	q, e, _ := counted(t, some)
	e.handshakes.bounds = slices.Clone(e.handshakes.bounds)
	e.handshakes.bounds[0] /= 2
	next := NewEvents()
	if err := Restore(AppendSnapshot(nil, q, e), NewQuality(), next); err != nil {
		t.Fatal(err)
	}
	if slices.Max(next.handshakes.counts) != 0 || slices.Max(next.sessions.counts) != 1 {
		t.Errorf("handshakes %v, sessions %v", next.handshakes.counts, next.sessions.counts)
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenSnapshot, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		counted(t, func(q *Quality, e *Events) {
			if Restore(b, q, e) != nil {
				return
			}
			if err := Restore(AppendSnapshot(nil, q, e), NewQuality(), NewEvents()); err != nil {
				t.Fatal(err)
			}
		})
	})
}
