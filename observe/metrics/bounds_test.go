package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/handshake"
	"srtrelay/shard"
)

type backends []answer.Backend

func (b backends) Backends() []answer.Backend { return b }

// fixedStreams plays the sampler; it gives what is asked for, as that does.
type fixedStreams struct {
	list  []answer.Stream
	err   error
	mu    sync.Mutex // scrapes may come at once
	asked answer.StreamQuery
}

func (f *fixedStreams) Streams(_ context.Context, q answer.StreamQuery) (answer.StreamList, error) {
	f.mu.Lock()
	f.asked = q
	f.mu.Unlock()
	return answer.StreamList{Streams: f.list[:min(q.Limit, len(f.list))], Total: len(f.list)}, f.err
}

func someStreams(n int) []answer.Stream {
	number := func(f float64) *float64 { return &f }
	all := make([]answer.Stream, n)
	for i := range all {
		all[i] = answer.Stream{
			Key: fmt.Sprintf("v/live/s%05d", i), Publishers: 1, Players: i, BitrateIn: 8000, BitrateOut: 16000,
			Since: time.Unix(1_700_000_000, 5e8), CallerRTT: number(25), CallerLoss: number(5), BackendLoss: number(0),
		}
	}
	return all
}

// seriesIn counts the series whose name begins so.
func seriesIn(exposition, prefix string) (n int) {
	for line := range strings.Lines(exposition) {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

func TestStreamsAreBounded(t *testing.T) {
	const perStream = 8 // someStreams know no RTT of the backend's leg
	for _, c := range []struct{ there, most, shown int }{{0, 10, 0}, {5, 10, 5}, {10, 10, 10}, {5000, 10, 10}} {
		from := &fixedStreams{list: someStreams(c.there)}
		text := scrape(t, Handler(Sources{Shards: twoShards{}, Streams: from, StreamsShown: c.most}, discard))
		if n := seriesIn(text, "srtrelay_stream_"); n != perStream*c.shown {
			t.Errorf("%d of %d: %d series, want %d", c.most, c.there, n, perStream*c.shown)
		}
		for _, want := range []string{
			fmt.Sprintf("\nsrtrelay_streams %d\n", c.there), fmt.Sprintf("\nsrtrelay_streams_left_out %d\n", c.there-c.shown),
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%d of %d: no line %q", c.most, c.there, strings.TrimSpace(want))
			}
		}
		// The oldest: the same ones as in the scrape before.
		if want := (answer.StreamQuery{Sort: "since", Limit: c.most}); from.asked != want {
			t.Errorf("asked %+v, want %+v", from.asked, want)
		}
	}
	off := scrape(t, Handler(Sources{Shards: twoShards{}, Streams: &fixedStreams{list: someStreams(3)}}, discard))
	if seriesIn(off, "srtrelay_stream") != 0 {
		t.Error("streams are shown although nobody asked for them")
	}
}

// A caller chooses its stream's name; the scrape survives any.
func TestStreamsOfAnyName(t *testing.T) {
	from := &fixedStreams{list: someStreams(6)}
	names := []string{"a\xff", "a\xfe", "", "a\"b\nc\\d", "{}", "\x1b[2J\u009b31m\u202ex"}
	for i, name := range names {
		from.list[i].Key = name
	}
	text := scrape(t, Handler(Sources{Shards: twoShards{}, Streams: from, StreamsShown: 10}, discard))
	if n := seriesIn(text, "srtrelay_stream_bytes_per_second"); n != 2*len(names) {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(text, "\nsrtrelay_streams_left_out 0\n") {
		t.Error("one is left out")
	}
	// The exposition writes a backslash of a label as two.
	for _, name := range names {
		if label := strings.ReplaceAll(answer.Escape(name), `\`, `\\`); !strings.Contains(text, `stream="`+strings.ReplaceAll(label, `"`, `\"`)+`"`) {
			t.Errorf("no label %s", label)
		}
	}
	if strings.ContainsAny(text, "\x1b\u009b\u202e\ufffd") {
		t.Error("a terminal would obey the exposition")
	}
}

// A shard that cannot be asked must not take the other metrics with it.
func TestStreamsThatCannotBeAsked(t *testing.T) {
	var log bytes.Buffer
	from := &fixedStreams{err: errors.New("shards are stopped")}
	text := scrape(t, Handler(Sources{Shards: twoShards{}, Streams: from, StreamsShown: 10}, slog.New(slog.NewTextHandler(&log, nil))))
	if !strings.Contains(text, "srtrelay_sessions") || seriesIn(text, "srtrelay_streams") != 0 {
		t.Error(text)
	}
	if !strings.Contains(log.String(), "shards are stopped") {
		t.Errorf("log %q", &log)
	}
}

func TestBackendsAreBounded(t *testing.T) {
	const perBackend, over = 10, 7
	var many backends
	for i := range maxBackends + over {
		many = append(many, answer.Backend{ID: fmt.Sprintf("origin-%d", i), Address: "10.0.0.1:1", Source: "registered"})
	}
	slices.Reverse(many)
	text := scrape(t, Handler(Sources{Shards: twoShards{}, Backends: many}, discard))
	if n := seriesIn(text, "srtrelay_backend_"); n != perBackend*maxBackends+2 { // two counters of shards have that prefix
		t.Errorf("%d series, want %d", n, perBackend*maxBackends)
	}
	for _, want := range []string{fmt.Sprintf("\nsrtrelay_backends %d\n", maxBackends+over), fmt.Sprintf("\nsrtrelay_backends_left_out %d\n", over)} {
		if !strings.Contains(text, want) {
			t.Errorf("no line %q", strings.TrimSpace(want))
		}
	}
}

// Backends reject with any of four billion codes.
func TestRejectionsAreBounded(t *testing.T) {
	e := NewEvents()
	for code := range uint32(5000) {
		e.Count(shard.Event{Kind: shard.EventCallerRejected, Code: handshake.Code(code)})
		e.Count(shard.Event{Kind: shard.EventCallerRejected, Code: handshake.Code(code * 838_861)})
	}
	text := scrape(t, Handler(Sources{Shards: twoShards{}, Events: e}, discard))
	if n := seriesIn(text, "srtrelay_callers_rejected_total{"); n > 32 {
		t.Errorf("%d series", n)
	}
	if !strings.Contains(text, `srtrelay_callers_rejected_total{code="2503",reason="down"} 1`) {
		t.Error("a code with a name has no series")
	}
}

func TestEveryCauseIsCounted(t *testing.T) {
	e := NewEvents()
	for c := range shard.Cause(len(shard.Causes())) {
		e.Count(shard.Event{Kind: shard.EventSessionEnded, Cause: c + 1})
	}
	text := scrape(t, Handler(Sources{Shards: twoShards{}, Events: e}, discard))
	for _, c := range shard.Causes() {
		if want := fmt.Sprintf("srtrelay_sessions_ended_total{cause=%q} 1\n", strings.ReplaceAll(c.String(), " ", "_")); !strings.Contains(text, want) {
			t.Errorf("no line %s", want)
		}
	}
}
