package api

import (
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
)

// What the feed still has can be asked for by time, and the answer says how far back
// that is.
func TestPastEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &relay{}
		deps := r.deps()
		began := time.Now()
		deps.Feed = NewFeed(began)
		h := newHandler("v1", deps, discard).mux()
		ask := func(query string) (causes, kept string) {
			t.Helper()
			w := recordOf(h, "GET", "/api/v1/events?follow=false&"+query)
			if w.Code != 200 {
				t.Fatalf("%s: %d %s", query, w.Code, w.Body)
			}
			return causesIn(w), w.Header().Get("Events-Kept-Since")
		}
		tell := func(cause, stream string) {
			deps.Feed.Publish(answer.Event{Time: time.Now(), Kind: answer.EventSessionEnded, Stream: stream, Cause: cause})
			time.Sleep(time.Minute) // the bubble's clock
		}
		tell("a", "live/x")
		tell("b", "v/live/x")
		tell("c", "live/x")
		for query, want := range map[string]string{
			"":          "a b c",
			"since=2m":  "b c",
			"since=90s": "c",
			"since=0s":  "",
			"since=99h": "a b c",
			"since=" + began.Add(time.Minute).UTC().Format(time.RFC3339): "b c",
			"since=3m&stream=live/x":     "a c",
			"since=3m&kind=backend-gone": "",
			"after=0":                    "a b c",
		} {
			got, kept := ask(query)
			if got != want || kept != began.UTC().Format(time.RFC3339Nano) {
				t.Errorf("%q: %q, kept since %s, want %q", query, got, kept, want)
			}
		}
		for range feedSize {
			deps.Feed.Publish(answer.Event{Time: time.Now(), Kind: answer.EventSessionEnded, Cause: "d"})
		}
		if _, kept := ask("since=10m"); kept != time.Now().UTC().Format(time.RFC3339Nano) {
			t.Errorf("kept since %s, want the time of the oldest one", kept)
		}
		for _, query := range []string{"since=-1m", "since=yesterday", "follow=no"} {
			if w := recordOf(h, "GET", "/api/v1/events?"+query); w.Code != 400 {
				t.Errorf("%s: %d", query, w.Code)
			}
		}
	})
}

// causesIn returns the causes of the events in an answer.
func causesIn(w *httptest.ResponseRecorder) string {
	var all []string
	for _, part := range strings.Split(w.Body.String(), `"cause":"`)[1:] {
		cause, _, _ := strings.Cut(part, `"`)
		all = append(all, cause)
	}
	return strings.Join(all, " ")
}
