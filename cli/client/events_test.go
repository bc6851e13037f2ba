package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/api/answer"
)

func feedHeader(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	w.WriteHeader(http.StatusOK)
}

// If the relay goes away, Follow asks again for the events since, with growing waits, and
// reports that it was away.
func TestFollowReconnects(t *testing.T) {
	var calls atomic.Int32
	var queries []string
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery+" "+r.Header.Get("Last-Event-ID"))
		switch calls.Add(1) {
		case 1:
			feedHeader(w)
			_, _ = io.WriteString(w, ": hello\n\nid: 7\nevent: session-begun\ndata: {\"id\":7,\"kind\":\"session-begun\"}\n\nid: 8\ndata: {\"id\":8,\"ki")
		case 2, 3:
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"code":503,"error":"too many readers"}`)
		default:
			feedHeader(w)
			_, _ = io.WriteString(w, "id: 8\ndata: {\"id\":8,\"kind\":\"session-ended\"}\n\n")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}
	})
	var said []string
	var waits []time.Duration
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err := c.Follow(ctx, EventQuery{Kinds: []string{"a", "b"}, Stream: "x"}, Feed{
		Event: func(e answer.Event, raw []byte) error {
			said = append(said, fmt.Sprint(e.ID, " ", e.Kind))
			if !strings.HasPrefix(string(raw), `{"id":`) {
				t.Errorf("raw %q", raw)
			}
			if e.ID == 8 {
				cancel()
			}
			return nil
		},
		Away: func(err error) { said = append(said, "away: "+err.Error()) },
		Back: func() { said = append(said, "back") },
		Wait: func(_ context.Context, d time.Duration) { waits = append(waits, d) },
	})
	if err != nil {
		t.Error(err)
	}
	want := []string{"7 session-begun", "away: " + c.API() + " has closed the feed", "back", "8 session-ended"}
	if !slices.Equal(said, want) {
		t.Errorf("said %q", said)
	}
	if want := []time.Duration{retryFirst, 2 * retryFirst, 4 * retryFirst}; !slices.Equal(waits, want) {
		t.Errorf("waited %v", waits)
	}
	const asks = "kind=a&kind=b&stream=x "
	if want := []string{asks, asks + "7", asks + "7", asks + "7"}; !slices.Equal(queries, want) {
		t.Errorf("asked %q", queries)
	}
}

// What cannot become better is an error at once.
func TestFollowGivesUp(t *testing.T) {
	never := Feed{
		Event: func(answer.Event, []byte) error { return nil },
		Away:  func(err error) { t.Errorf("tries again after %v", err) },
		Back:  func() { t.Error("back") },
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"refused": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"code":400,"error":"kind: unknown"}`)
		}, "kind: unknown"},
		"full": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = io.WriteString(w, `{"code":503,"error":"too many readers"}`)
		}, "too many readers"},
		"other": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "is no srtrelay"},
		"json":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"code":0}`) }, "is no srtrelay"},
		"garbage": {func(w http.ResponseWriter, _ *http.Request) {
			feedHeader(w)
			_, _ = io.WriteString(w, "data: nonsense\n\n")
		}, "cannot be read"},
	} {
		err := serving(t, c.answer).Follow(t.Context(), EventQuery{}, never)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if err := New("127.0.0.1:1", "", nil).Follow(t.Context(), EventQuery{}, never); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("nobody there: %v", err)
	}
	stop := errors.New("enough")
	c := serving(t, func(w http.ResponseWriter, _ *http.Request) {
		feedHeader(w)
		_, _ = io.WriteString(w, "data: {}\n\n")
	})
	never.Event = func(answer.Event, []byte) error { return stop }
	if err := c.Follow(t.Context(), EventQuery{}, never); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
}

func TestReadFrames(t *testing.T) {
	for text, want := range map[string]string{
		"data: a\n\n":                         "|a",
		"data:a\r\ndata: b\r\n\r\n":           "|a\nb",
		"id: 5\rdata:  c\r\r":                 "5| c",
		": comment\n\nevent: x\n\ndata\n\n":   "|",
		"data: a\n\ndata: cut":                "|a",
		"data: a\n":                           "",
		"id: 1\n\ndata: b\nother: z\n\nid: 2": "1| |b",
	} {
		var got []string
		received := 0
		err := readFrames(strings.NewReader(text), func() { received++ }, func(f sseFrame) error {
			got = append(got, f.id+"|"+string(f.data))
			return nil
		})
		if joined := strings.Join(got, " "); joined != want || err != nil || received == 0 {
			t.Errorf("%q: %q, %v, want %q", text, joined, err, want)
		}
	}
	long := strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 100)
	for _, text := range []string{long, "data: " + strings.Repeat("y", 2*maxFrame)} {
		if err := readFrames(strings.NewReader(text), func() {}, func(sseFrame) error { return nil }); err == nil {
			t.Error("an event without end was taken")
		}
	}
}

func FuzzReadFrames(f *testing.F) {
	f.Add("id: 1\ndata: {}\n\n")
	f.Add("data: a\r\rdata\r\n\r\n:\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		_ = readFrames(strings.NewReader(text), func() {}, func(frame sseFrame) error {
			if strings.ContainsAny(frame.id, "\r\n") || strings.Contains(string(frame.data), "\r") {
				t.Errorf("a line end in %q", frame)
			}
			if len(frame.data) > maxFrame+1 {
				t.Errorf("event of %d bytes", len(frame.data))
			}
			return nil
		})
	})
}
