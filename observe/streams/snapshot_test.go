package streams

import (
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/golden"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
)

// boot is when CLOCK_MONOTONIC was 0, by the rig's clock.
var boot = began.Add(-time.Hour)

// takeOver returns a rig that goes on with the sessions and the histories of another one.
func (r *rig) takeOver(t *testing.T) *rig {
	t.Helper()
	next := &rig{Watch: New(r.shards, nil, slog.New(slog.DiscardHandler)), shards: r.shards, t: t, now: r.now}
	if err := next.Restore(r.AppendSnapshot(nil, boot), boot); err != nil {
		t.Fatal(err)
	}
	return next
}

// valuesOf returns a history's values as text.
func valuesOf(h *answer.History) (all []string) {
	for _, list := range [][]*float64{h.BitrateIn, h.BitrateOut, h.CallerRTT, h.BackendRTT, h.CallerLoss, h.BackendLoss} {
		text := ""
		for _, x := range list {
			if x == nil {
				text += "- "
			} else {
				text += fmt.Sprint(*x, " ")
			}
		}
		all = append(all, text)
	}
	return all
}

// A history goes on without a gap, and without a second of silence that there was not.
func TestHistoryGoesOn(t *testing.T) {
	old := newRig(t)
	steady, quiet := old.add(1, "live/a", true), old.add(2, "live/quiet", true)
	for range 5 {
		flow(steady, telemetry.ToBackend, 100)
		flow(quiet, telemetry.ToBackend, 10)
		old.pass(steady, quiet)
	}
	next := old.takeOver(t)
	if a, b := old.historyOf("live/a", historyLength), next.historyOf("live/a", historyLength); !reflect.DeepEqual(valuesOf(a), valuesOf(b)) || !a.End.Equal(b.End) {
		t.Errorf("read %v, want %v", valuesOf(b), valuesOf(a))
	}
	for range 4 {
		flow(steady, telemetry.ToBackend, 100)
		next.pass(steady)
	}
	h := next.historyOf("live/a", historyLength)
	if len(h.BitrateIn) != 9 {
		t.Errorf("%d samples after 9 seconds", len(h.BitrateIn))
	}
	for k, x := range h.BitrateIn[1:] {
		if !near(*x, 100*1332*8) {
			t.Errorf("second %d has %v bit/s", k, *x)
		}
	}
	h = next.historyOf("live/quiet", historyLength)
	if len(h.BitrateIn) != 9 || *h.BitrateIn[4] == 0 || *h.BitrateIn[5] != 0 {
		t.Errorf("without media %v", valuesOf(h)[0])
	}
	if kept, _ := next.Histories(); kept != 2 {
		t.Errorf("%d histories", kept)
	}
}

func TestSnapshotIsBounded(t *testing.T) {
	w := New(newFake(), nil, slog.New(slog.DiscardHandler))
	for i := range maxHistories {
		s := w.stream(fmt.Sprintf("live/stream-%d", i))
		s.history = &history{last: began}
		s.history.put(&silent, historyLength)
	}
	text := w.AppendSnapshot(nil, boot)
	if len(text) < maxSnapshot || len(text) > maxSnapshot+2*historySize {
		t.Errorf("%d bytes, want about %d", len(text), maxSnapshot)
	}
	next := New(newFake(), nil, slog.New(slog.DiscardHandler))
	if err := next.Restore(text, boot); err != nil {
		t.Fatal(err)
	}
	if kept, _ := next.Histories(); kept < 2500 || kept > 3100 {
		t.Errorf("%d histories are handed on", kept)
	}
}

// goldenFile has a snapshot of version 1 as it was first written.
const goldenFile = "testdata/snapshot-1.hex"

func TestGoldenSnapshot(t *testing.T) {
	old := newRig(t)
	v := old.add(1, "live/a", true)
	for range 3 {
		flow(v, telemetry.ToBackend, 100)
		old.pass(v)
	}
	good := golden.Hex(t, goldenFile, func() []byte { return old.AppendSnapshot(nil, boot) })
	next := New(newFake(), nil, slog.New(slog.DiscardHandler))
	if err := next.Restore(good, boot); err != nil {
		t.Fatal(err)
	}
	if a, b := old.historyOf("live/a", historyLength), next.historyOf("live/a", historyLength); !reflect.DeepEqual(valuesOf(a), valuesOf(b)) {
		t.Errorf("read %v, want %v", valuesOf(b), valuesOf(a))
	}
	for name, b := range map[string][]byte{
		"empty": nil, "other version": message.AppendVersion(nil, 99), "half": good[:len(good)/2],
		"half a sample": message.AppendBytes(message.AppendVersion(nil, 1), watchStream, "\x1a\x01x"),
		"a key twice":   append(append([]byte(nil), good...), good[len(message.AppendVersion(nil, 1)):]...),
	} {
		w := New(newFake(), nil, slog.New(slog.DiscardHandler))
		err := w.Restore(b, boot)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the streams: ") {
			t.Errorf("%s: %v", name, err)
		}
		if kept, _ := w.Histories(); kept != 0 || w.resuming {
			t.Errorf("%s: changed the watch", name)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenFile, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := New(newFake(), nil, slog.New(slog.DiscardHandler))
		if w.Restore(b, boot) != nil {
			return
		}
		next := New(newFake(), nil, slog.New(slog.DiscardHandler))
		if err := next.Restore(w.AppendSnapshot(nil, boot), boot); err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkSnapshot(b *testing.B) {
	w := New(newFake(), nil, slog.New(slog.DiscardHandler))
	for i := range 2500 {
		s := w.stream(fmt.Sprintf("live/stream-%d", i))
		s.history = &history{last: began}
		s.history.put(&silent, historyLength)
	}
	text := w.AppendSnapshot(nil, boot)
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			w.AppendSnapshot(text[:0], boot)
		}
	})
	b.Run("restore", func(b *testing.B) {
		for b.Loop() {
			if err := New(newFake(), nil, w.log).Restore(text, boot); err != nil {
				b.Fatal(err)
			}
		}
	})
}
