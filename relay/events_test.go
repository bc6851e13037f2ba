package relay

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/handshake"
	"srtrelay/internal/supervise"
	"srtrelay/observe/metrics"
	"srtrelay/shard"
)

// feedText is all that a feed keeps, as a reader gets it.
func feedText(t *testing.T, f *api.Feed) string {
	t.Helper()
	s := api.New("v", api.Deps{Feed: f, Metrics: http.NotFoundHandler()}, slog.New(slog.DiscardHandler))
	if err := s.Listen(netip.MustParseAddrPort("127.0.0.1:0")); err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- s.Serve() }()
	res, err := http.Get("http://" + s.Addr().String() + "/api/v1/events?after=0")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	// The server's end is the answer's: it goes out whole before.
	shut := make(chan error)
	go func() { shut <- s.Shutdown(context.Background()) }()
	var text bytes.Buffer
	_, err = text.ReadFrom(res.Body)
	_ = res.Body.Close()
	if err != nil || <-shut != nil || <-served != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Many rejections must not fill the disk or the feed; the metrics count them all.
func TestRejectionsAreBounded(t *testing.T) {
	var out bytes.Buffer
	sinks := newEventSinks()
	log := newEventLog(slog.New(slog.NewTextHandler(&out, nil)), sinks)
	events := make(chan *shard.Event, 1000)
	for range 900 {
		events <- &shard.Event{Kind: shard.EventCallerRejected, Code: handshake.CodeDown}
	}
	events <- &shard.Event{Kind: shard.EventSessionEnded, Cause: shard.CauseIdle}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log.run(ctx, events)
	text := out.String()
	if n := strings.Count(text, "caller rejected"); n != rejectionsPerSecond {
		t.Errorf("%d rejections written, want %d", n, rejectionsPerSecond)
	}
	if !strings.Contains(text, "count=850") {
		t.Errorf("the rest is not counted:\n%s", text[max(0, len(text)-300):])
	}
	if !strings.Contains(text, "cause=idle") {
		t.Error("an ended session was suppressed too")
	}
	feed := feedText(t, sinks.feed)
	for kind, want := range map[string]int{answer.EventCallerRejected: rejectionsPerSecond, answer.EventMoreRejected: 1, answer.EventSessionEnded: 1} {
		if n := strings.Count(feed, "event: "+kind+"\n"); n != want {
			t.Errorf("%d events %s in the feed, want %d", n, kind, want)
		}
	}
	if !strings.Contains(feed, `"lost":850`) {
		t.Error("the feed does not say how many are left out")
	}
	w := httptest.NewRecorder()
	metrics.Handler(metrics.Sources{Shards: new(shard.Group), Events: sinks.counted}, log.log).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for _, want := range []string{
		`srtrelay_callers_rejected_total{code="2503",reason="down"} 900`, `srtrelay_sessions_ended_total{cause="idle"} 1`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// A thousand callers that reconnect must not write a thousand lines per second;
// the feed has them all.
func TestLinesOfSessionsAreBounded(t *testing.T) {
	var out bytes.Buffer
	sinks := newEventSinks()
	log := newEventLog(slog.New(slog.NewTextHandler(&out, nil)), sinks)
	const more = 70
	for i := range sessionLinesPerSecond + more {
		kind := shard.EventSessionBegun
		if i%2 == 1 {
			kind = shard.EventSessionEnded
		}
		log.handle(shard.Event{Kind: kind})
	}
	log.report()
	lines := func() int {
		return strings.Count(out.String(), `msg="session begun"`) + strings.Count(out.String(), `msg="session ended"`)
	}
	if n := lines(); n != sessionLinesPerSecond {
		t.Errorf("%d lines, want %d", n, sessionLinesPerSecond)
	}
	if !strings.Contains(out.String(), fmt.Sprintf(`msg="more sessions begun or ended" count=%d`, more)) {
		t.Error("the rest is not counted")
	}
	if n := strings.Count(feedText(t, sinks.feed), "event: session-"); n != sessionLinesPerSecond+more {
		t.Errorf("%d events in the feed, want %d", n, sessionLinesPerSecond+more)
	}
	log.handle(shard.Event{Kind: shard.EventSessionBegun}) // the next second
	if n := lines(); n != sessionLinesPerSecond+1 {
		t.Errorf("%d lines after the next second began", n)
	}
}

// The bug: a stream above its bitrate wrote a line for each publisher that came, without a bound.
func TestLinesOfStreamsAboveTheirBitrateAreBounded(t *testing.T) {
	var out bytes.Buffer
	sinks := newEventSinks()
	log := newEventLog(slog.New(slog.NewTextHandler(&out, nil)), sinks)
	const more = 20
	for range rejectionsPerSecond + more {
		log.handle(shard.Event{Kind: shard.EventStreamOverLimit, Bitrate: 2e6, MaxBitrate: 1e6})
	}
	log.report()
	if n := strings.Count(out.String(), `msg="stream above its bitrate"`); n != rejectionsPerSecond {
		t.Errorf("%d lines, want %d", n, rejectionsPerSecond)
	}
	if !strings.Contains(out.String(), fmt.Sprintf(`msg="more streams above their bitrate" count=%d`, more)) {
		t.Error("the rest is not counted")
	}
	if n := strings.Count(feedText(t, sinks.feed), "event: stream-over-limit"); n != rejectionsPerSecond+more {
		t.Errorf("%d events in the feed, want all", n)
	}
}

// panicking is a handler that panics at its first line.
type panicking struct {
	slog.Handler
	once *sync.Once
}

func (p panicking) Handle(ctx context.Context, r slog.Record) error {
	p.once.Do(func() { panic("boom") })
	return p.Handler.Handle(ctx, r)
}

func (p panicking) WithAttrs(attrs []slog.Attr) slog.Handler {
	return panicking{p.Handler.WithAttrs(attrs), p.once}
}

// A panic while an event is written costs that event's line, and no other.
func TestEventLogSurvivesAPanic(t *testing.T) {
	var out, said bytes.Buffer
	sinks := newEventSinks()
	log := newEventLog(slog.New(panicking{slog.NewTextHandler(&out, nil), new(sync.Once)}), sinks)
	supervisor := supervise.New(slog.New(slog.NewTextHandler(&said, nil)))
	tasks := supervisor.Tasks()
	ctx, cancel := context.WithCancel(t.Context())
	events := make(chan *shard.Event)
	tasks.Loop(ctx, "event log", func(ctx context.Context) { log.run(ctx, events) })
	events <- &shard.Event{Kind: shard.EventSessionBegun, Key: "first"}
	events <- &shard.Event{Kind: shard.EventSessionBegun, Key: "second"}
	cancel()
	tasks.Wait()
	if text := out.String(); strings.Contains(text, "first") || !strings.Contains(text, "stream=second") {
		t.Errorf("the log has %s", text)
	}
	if counts := supervisor.Counts(); len(counts) != 1 || counts[0].Panics != 1 {
		t.Errorf("counted %+v", counts)
	}
	if !strings.Contains(said.String(), "boom") {
		t.Errorf("the supervisor logged %s", said.String())
	}
}

func TestEventAnswers(t *testing.T) {
	now := time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 3600))
	two := 2
	caller, at := netip.MustParseAddrPort("192.0.2.1:5"), netip.MustParseAddrPort("10.0.0.1:10080")
	id := shard.SessionID{Shard: 2, Index: 3, Gen: 4}
	for _, c := range []struct {
		in   shard.Event
		want answer.Event
	}{
		{
			shard.Event{
				Kind: shard.EventSessionBegun, Shard: 2, Session: id, Caller: caller, Backend: "b", Address: at,
				Key: "v/a/s", Publish: true, Took: 1500 * time.Microsecond,
			},
			answer.Event{
				Kind: "session-begun", Shard: &two, Session: "2-3-4", Caller: "192.0.2.1:5", Backend: "b", Address: "10.0.0.1:10080",
				Stream: "v/a/s", Role: "publisher", TookMillis: 1.5,
			},
		},
		{
			shard.Event{Kind: shard.EventSessionEnded, Shard: 2, Session: id, Caller: caller, Key: "k", Cause: shard.CauseKicked, Took: time.Second},
			answer.Event{
				Kind: "session-ended", Shard: &two, Session: "2-3-4", Caller: "192.0.2.1:5", Stream: "k", Role: "player",
				Cause: "kicked", TookMillis: 1000,
			},
		},
		{
			shard.Event{Kind: shard.EventCallerRejected, Shard: 2, Caller: caller, Key: "k", Publish: true, Code: handshake.CodeNotFound},
			answer.Event{
				Kind: "caller-rejected", Shard: &two, Caller: "192.0.2.1:5", Stream: "k", Role: "publisher", Code: 2404, Reason: "not found",
			},
		},
		{ // one whose stream ID has no key: without its secrets, and of no known role
			shard.Event{Kind: shard.EventCallerRejected, Shard: 2, Caller: caller, StreamID: "#!::m=push,secret=abc", Code: handshake.CodeBadRequest},
			answer.Event{
				Kind: "caller-rejected", Shard: &two, Caller: "192.0.2.1:5", Stream: "#!::m=push,secret=***", Code: 2400, Reason: "bad request",
			},
		},
		{ // one of which no stream ID is known, refused with a code of the backend's own
			shard.Event{Kind: shard.EventCallerRejected, Shard: 2, Caller: caller, Code: 2777},
			answer.Event{Kind: "caller-rejected", Shard: &two, Caller: "192.0.2.1:5", Code: 2777},
		},
		{
			shard.Event{Kind: shard.EventBackendLost, Shard: 2, Backend: "b", Address: at},
			answer.Event{Kind: "backend-gone", Shard: &two, Backend: "b", Address: "10.0.0.1:10080"},
		},
	} {
		c.want.Time = now.UTC()
		if got := eventAnswer(c.in, now); !reflect.DeepEqual(got, c.want) {
			t.Errorf("got  %+v\nwant %+v", got, c.want)
		}
	}
}
