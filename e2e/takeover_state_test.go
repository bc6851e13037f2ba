//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// keptEvents returns the events that a relay keeps, in order.
func (r *relay) keptEvents() (all []answer.Event) {
	r.t.Helper()
	status, text := r.call(http.MethodGet, "/api/v1/events?after=0&follow=false", "")
	if status != http.StatusOK {
		r.t.Fatalf("events: %d %s", status, text)
	}
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			var e answer.Event
			must(r.t, json.Unmarshal([]byte(data), &e))
			all = append(all, e)
		}
	}
	return all
}

// metric returns the value of one series.
func (r *relay) metric(series string) float64 {
	r.t.Helper()
	for line := range strings.Lines(fetch(r, "/metrics")) {
		if text, ok := strings.CutPrefix(strings.TrimSpace(line), series+" "); ok {
			v, err := strconv.ParseFloat(text, 64)
			must(r.t, err)
			return v
		}
	}
	r.t.Fatalf("no metric %s", series)
	return 0
}

// What a relay knows beside its sessions outlives a take-over: backends that have
// registered, drains, where streams are, events and counters. With Redis the bindings stay
// there, and the end of the old process removes nothing.
func TestTakeOverKeepsWhatIsKnown(t *testing.T) {
	t.Parallel()
	for name, redis := range map[string]bool{"alone": false, "redis": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testTakeOverKeepsWhatIsKnown(t, redis)
		})
	}
}

func testTakeOverKeepsWhatIsKnown(t *testing.T, redis bool) {
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "takeover.sock"), filepath.Join(dir, "events.json")
	args := []string{"--shards=2", "--takeover-socket", socket, "--event-log", file}
	var s *store
	if redis {
		s = startStore(t)
		args = append(args, s.at()...)
	}
	r := startRelay(t, args...)
	mirrors := []*srttest.Listener{startMirror(t), startMirror(t), startMirror(t)}
	servers := make([]server, len(mirrors))
	for i, l := range mirrors {
		servers[i] = serverAt(i, l.Addr())
		r.beat(servers[i])
	}
	r.awaitAlive(servers...)
	r.drain(servers[2].id())
	sessions := make([]*srttest.Session, 8)
	for i := range sessions {
		sessions[i] = mustDial(t, r.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/s%d,m=publish", i)})
	}
	ended := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/ended,m=publish"})
	must(t, ended.SendShutdown())
	feed := r.follow("")
	for range servers {
		feed.await(answer.EventBackendRegistered) // the backends are compared every 250 ms
	}
	r.follow("").await(answer.EventSessionEnded)
	const counted = `srtrelay_sessions_ended_total{cause="caller"}`
	if r.metric(counted) != 1 || r.metric("srtrelay_handshake_duration_seconds_count") != 9 {
		t.Fatal("the sessions are not counted")
	}
	before, listed := r.keptEvents(), r.listing()

	r = r.successor(socket, args...)
	for id, was := range listed {
		is := r.listing()[id]
		if !is.Alive || is.Draining != was.Draining || is.Source != was.Source || is.Sessions != was.Sessions || is.Streams != was.Streams {
			t.Errorf("%s was %+v, and is %+v", id, was, is)
		}
	}
	if r.metric(counted) != 1 || r.metric("srtrelay_handshake_duration_seconds_count") != 9 {
		t.Error("counters went back")
	}
	after := r.keptEvents()
	if len(after) < len(before) || !slices.EqualFunc(before, after[:len(before)], func(a, b answer.Event) bool { return a.ID == b.ID && a.Kind == b.Kind }) {
		t.Errorf("the feed had %+v, and has %+v", before, after)
	}
	for _, e := range after[min(len(before), len(after)):] {
		if e.Kind == answer.EventBackendRegistered || e.Kind == answer.EventBackendRemoved {
			t.Errorf("the take-over shows: %+v", e)
		}
	}
	for i, publisher := range sessions {
		player := mustDial(t, r.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/s%d,m=request", i)})
		_, at := connectionOf(t, publisher, mirrors...)
		if _, there := connectionOf(t, player, mirrors...); there != at || at == 2 {
			t.Errorf("stream %d is at %d, its new player at %d", i, at, there)
		}
	}
	if redis {
		for i := range sessions {
			if got := s.ask("TTL", fmt.Sprintf("srs-proxy-url:__defaultVhost__/live/s%d", i)); got < "1" {
				t.Errorf("stream %d has a binding with a TTL of %s", i, got)
			}
		}
		for _, sv := range servers {
			if s.ask("EXISTS", "srs-proxy-server:"+sv.id()) != "1" {
				t.Errorf("the entry of %s is gone", sv.id())
			}
		}
	}
	for _, one := range sessions {
		must(t, one.SendShutdown())
	}
	feed = r.follow("")
	for range len(sessions) + 1 {
		feed.await(answer.EventSessionEnded)
	}
	checkEventFile(t, r, file)
}

// checkEventFile checks that the file of --event-log has every event of the feed once.
func checkEventFile(t *testing.T, r *relay, file string) {
	t.Helper()
	want := r.keptEvents()
	last := want[len(want)-1].ID
	var ids []uint64
	if !eventually(func() bool {
		text, err := os.ReadFile(file)
		must(t, err)
		ids = ids[:0]
		for line := range strings.Lines(string(text)) {
			var e answer.Event
			if json.Unmarshal([]byte(line), &e) == nil {
				ids = append(ids, e.ID)
			}
		}
		return slices.Contains(ids, last)
	}) {
		t.Fatalf("the file ends with %v, the feed with %d", ids[max(len(ids)-3, 0):], last)
	}
	for i, id := range ids {
		if id != want[0].ID+uint64(i) {
			t.Fatalf("event %d of the file is %d, want %d", i, id, want[0].ID+uint64(i))
		}
	}
}

// If the new process dies in its probation, the old one goes on also with what is not a
// session: it answers callers, publishes events, and renews what is in Redis.
func TestResumedRelayGoesOn(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	mirror := startMirror(t)
	args := append(s.at(), "--shards=2", "--takeover-socket", socket, backendAt(mirror.Addr()), "--affinity=1s")
	r := startRelay(t, args...)
	r.awaitReadiness(http.StatusOK, "")
	mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/before,m=publish"})
	r.follow("").await(answer.EventSessionBegun)
	next := r.challenge(socket, args...)
	next.awaitLog("taken over", func(logLine) bool { return true })
	next.kill()
	r.awaitLog("this process goes on with the sessions of when it was frozen", func(logLine) bool { return true })
	before := r.keptEvents()
	mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/after,m=publish"})
	var after []answer.Event
	if !eventually(func() bool {
		after = r.keptEvents()
		begun := slices.ContainsFunc(after, func(e answer.Event) bool { return e.Stream == "__defaultVhost__/live/after" })
		return begun && after[0].ID == before[0].ID
	}) {
		t.Fatalf("the feed has %+v", after)
	}
	for _, stream := range []string{"before", "after"} {
		if !eventually(func() bool { return s.ask("EXISTS", "srs-proxy-url:__defaultVhost__/live/"+stream) == "1" }) {
			t.Fatalf("%s has no binding in Redis", stream)
		}
	}
	if st := r.stats(); st["established"] != 2 {
		t.Errorf("%d sessions", st["established"])
	}
}
