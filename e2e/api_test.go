//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/openapi"
	"srtrelay/internal/srttest"
)

// openContract reads what the API promises.
func openContract(t *testing.T) *openapi.Contract {
	t.Helper()
	text, err := os.ReadFile("../api/openapi.yaml")
	must(t, err)
	v, err := openapi.Parse(text)
	must(t, err)
	return v
}

// callChecked makes a call of a real relay, checks its answer against the contract and decodes
// the data.
func (r *relay) callChecked(v *openapi.Contract, method, path string, status int, into any) {
	r.t.Helper()
	request, err := http.NewRequestWithContext(r.t.Context(), method, r.api+path, nil)
	must(r.t, err)
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(request)
	must(r.t, err)
	body, err := io.ReadAll(res.Body)
	must(r.t, err)
	_ = res.Body.Close()
	if res.StatusCode != status {
		r.t.Fatalf("%s %s: %s, want %d\n%s", method, path, res.Status, status, body)
	}
	if err := v.CheckResponse(request, res.StatusCode, res.Header, body); err != nil {
		r.t.Errorf("%s %s: %v\n%s", method, path, err, body)
	}
	if into != nil {
		must(r.t, json.Unmarshal(body, &struct{ Data any }{into}))
	}
}

// eventFeed is a relay's events as a client gets them.
type eventFeed struct {
	t      *testing.T
	events chan answer.Event
}

// follow reads the feed from its beginning, for the time of the test.
func (r *relay) follow(query string) *eventFeed {
	r.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(r.api + "/api/v1/events?after=0" + query)
	must(r.t, err)
	f := &eventFeed{t: r.t, events: make(chan answer.Event, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e answer.Event
				if json.Unmarshal([]byte(data), &e) == nil {
					f.events <- e
				}
			}
		}
	}()
	r.t.Cleanup(func() { _ = res.Body.Close(); <-done })
	return f
}

// await returns the next event of a kind.
func (f *eventFeed) await(kind string) answer.Event {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case e := <-f.events:
			if e.Kind == kind {
				return e
			}
		case <-deadline:
			f.t.Fatalf("no event %s within %v", kind, patience)
		}
	}
}

// A relay with a publisher and a player: every answer keeps to openapi.yaml,
// what the answers say of a session agrees, and a session that is closed
// through the API ends on both sides.
func TestAPIOfARelay(t *testing.T) {
	t.Parallel()
	const key = "__defaultVhost__/live/x"
	l := startMirror(t)
	l.Ack(true)
	r := startRelay(t, backendAt(l.Addr()), "--metrics-streams=10")
	v, feed := openContract(t), r.follow("")
	publisher := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	const sent = 50
	for range sent {
		must(t, publisher.SendData(make([]byte, 1316)))
	}
	must(t, publisher.Await(patiently(t), func() bool { return publisher.Counters().Received == sent }))

	var one answer.SessionList
	r.callChecked(v, "GET", "/api/v1/sessions?role=publisher&stream="+key+"&limit=1000", 200, &one)
	if len(one.Sessions) != 1 || one.Sessions[0].CallerSocketID != publisher.ID() || one.Sessions[0].ToBackend.DataPackets != sent {
		t.Fatalf("publishers of the stream: %+v", one)
	}
	id := one.Sessions[0].ID
	var session answer.Session
	r.callChecked(v, "GET", "/api/v1/sessions/"+id, 200, &session)
	if session.ID != id || session.State != "established" || session.Stream != key || session.ToBackend.DataBytes != sent*1316 {
		t.Errorf("%+v", session)
	}
	checkPages(r, v)
	var streams answer.StreamList
	r.callChecked(v, "GET", "/api/v1/streams?history=120&q=live", 200, &streams)
	if streams.Total != 1 || streams.Streams[0].Publishers != 1 || streams.Streams[0].Players != 1 {
		t.Errorf("%+v", streams)
	}
	var stream answer.StreamDetail
	r.callChecked(v, "GET", "/api/v1/streams/one?key="+key, 200, &stream)
	if len(stream.SessionList) != 2 {
		t.Errorf("%+v", stream)
	}
	for _, path := range []string{"/live", "/ready", "/metrics", "/api/v1/versions", "/api/v1/backends", "/api/v1/shards", "/api/v1/openapi.yaml", "/api/v1/resolve?streamid=live/x"} {
		r.callChecked(v, "GET", path, 200, nil)
	}
	r.callChecked(v, "GET", "/api/v1/sessions/9-9-9", 404, nil)
	r.callChecked(v, "GET", "/api/v1/sessions?cursor=nonsense", 400, nil)

	if e := feed.await("session-begun"); e.Session == "" || e.Stream != key || e.TookMillis <= 0 || e.Shard == nil {
		t.Errorf("%+v", e)
	}
	kick(t, r, v, feed, l, publisher, id)
	if _, err := tryDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=,m=publish"}); err == nil {
		t.Error("a caller without a stream got in")
	}
	if e := feed.await("caller-rejected"); e.Code != 2400 || e.Reason != "bad request" || e.Caller == "" {
		t.Errorf("%+v", e)
	}
	r.callChecked(v, "POST", "/api/v1/backends/"+l.Addr().String()+"/drain", 200, nil)
	for { // the first answer to a probe is news as well
		e := feed.await("backend-changed")
		if e.Backend != l.Addr().String() {
			t.Errorf("%+v", e)
		}
		if strings.Contains(e.Cause, "draining") {
			break
		}
	}
}

// checkPages goes through all sessions one at a time.
func checkPages(r *relay, v *openapi.Contract) {
	r.t.Helper()
	ids, cursor := map[string]bool{}, ""
	for range 1000 {
		var page answer.SessionList
		r.callChecked(v, "GET", "/api/v1/sessions?limit=1&cursor="+cursor, 200, &page)
		for _, s := range page.Sessions {
			if ids[s.ID] {
				r.t.Errorf("%s is listed twice", s.ID)
			}
			ids[s.ID] = true
		}
		if cursor = page.Cursor; cursor == "" {
			if len(ids) != 2 {
				r.t.Errorf("sessions %v, want 2", ids)
			}
			return
		}
	}
	r.t.Error("the list has no end")
}

// kick closes a session through the API.
func kick(t *testing.T, r *relay, v *openapi.Contract, feed *eventFeed, l *srttest.Listener, s *srttest.Session, id string) {
	t.Helper()
	r.callChecked(v, "DELETE", "/api/v1/sessions/"+id, 200, nil)
	e := feed.await("session-ended")
	if e.Session != id || e.Cause != "kicked" || e.Role != "publisher" || e.ID < uint64(time.Now().Add(-time.Hour).UnixMicro()) {
		t.Errorf("%+v", e)
	}
	must(t, s.Await(patiently(t), func() bool { return s.Counters().Shutdowns > 0 }))
	awaitLive(t, l, 1) // the player's
	if got := r.awaitLog("session ended", func(l logLine) bool { return l.text("session") == id }); got.text("cause") != "kicked" {
		t.Errorf("%v", got)
	}
	text := fetch(r, "/metrics")
	for _, want := range []string{
		`srtrelay_sessions_ended_total{cause="kicked"} 1`, `srtrelay_handshake_duration_seconds_count ` + strconv.Itoa(2),
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}
