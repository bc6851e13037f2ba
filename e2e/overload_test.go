//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// guests are callers of a relay in the test, each with a stream of its own.
type guests struct {
	t        *testing.T
	r        *relay
	sessions []*srttest.Session
}

// tries connects one more caller in a mode of SRS.
func (c *guests) tries(mode string) error {
	c.t.Helper()
	s, err := tryDial(c.t, c.r.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/%d,m=%s", len(c.sessions), mode)})
	if err == nil {
		c.sessions = append(c.sessions, s)
	}
	return err
}

func (c *guests) publish(n int) {
	c.t.Helper()
	for range n {
		must(c.t, c.tries("publish"))
	}
}

// A relay goes up the ladder with its sessions, one step after the other, and down again
// when they have gone. What runs notices nothing.
func TestOverloadLadder(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--overload=on", "--shards=1", "--max-sessions=20", backendAt(startMirror(t).Addr()))
	r.awaitReadiness(http.StatusOK, "")
	feed := r.follow("&kind=" + answer.EventOverloadEntered + "&kind=" + answer.EventOverloadLeft)
	wantStep := func(kind, step string) {
		t.Helper()
		if e := feed.await(kind); e.Step != step || e.Input != "sessions" || !strings.Contains(e.Cause, "of 20 sessions") {
			t.Errorf("%+v, want step %s", e, step)
		}
	}
	c := &guests{t: t, r: r}
	c.publish(1)
	runs := c.sessions[0]
	captured := r.capture("session=" + sessionOf(t, r, runs))
	c.publish(17) // 18 of 20
	for _, step := range []string{"telemetry", "captures", "players"} {
		wantStep(answer.EventOverloadEntered, step)
	}
	captured.end("relay is overloaded")
	if status, text := r.call(http.MethodGet, "/api/v1/capture?session="+sessionOf(t, r, runs), ""); status != http.StatusServiceUnavailable {
		t.Errorf("another capture: %d %s", status, text)
	}
	wantRejection(t, c.tries("request"), 2402)
	r.awaitReadiness(http.StatusOK, "overload: step players, pressure 0.90 by sessions: 18 of 20 sessions")
	c.publish(1)
	wantStep(answer.EventOverloadEntered, "publishers")
	wantRejection(t, c.tries("publish"), 2402)
	r.awaitReadiness(http.StatusServiceUnavailable, "overload: step publishers, pressure 0.95 by sessions: 19 of 20 sessions")
	openBrowser(t, r.api+"/").await(`document.querySelector("#alarms .alarm")?.textContent.startsWith("Not ready: overload: step publishers, pressure 0.95") &&
		[...document.querySelectorAll("#kernel-path dd")].some(d => d.textContent.startsWith("step publishers: new publishers are refused"))`)
	echo(t, runs, 10)
	if st := r.stats(); st["overload_players"] != 1 || st["overload_publishers"] != 1 || st["at_session_cap"] != 0 {
		t.Errorf("counted %v", st)
	}
	for _, s := range c.sessions[1:] {
		must(t, s.SendShutdown())
	}
	for _, step := range []string{"publishers", "players", "captures", "telemetry"} {
		wantStep(answer.EventOverloadLeft, step)
	}
	r.awaitReadiness(http.StatusOK, "")
	must(t, c.tries("request"))
	echo(t, runs, 10)
	for _, line := range []string{"overload: step entered", "overload: step left"} {
		if n := len(r.log(line)); n != 4 {
			t.Errorf("%d lines %q", n, line)
		}
	}
}

// A process that takes over begins at the step of the other one. What passes while sessions
// are not measured, in both of them, is not lost afterwards.
func TestOverloadIsTakenOver(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	args := []string{"--overload=on", "--shards=1", "--max-sessions=10", "--kernel-path=off", "--takeover-socket", socket, backendAt(startMirror(t).Addr())}
	r := startRelay(t, args...)
	r.awaitReadiness(http.StatusOK, "")
	c := &guests{t: t, r: r}
	c.publish(7)
	runs := c.sessions[0]
	echo(t, runs, 100)
	c.publish(1)
	feed := r.follow("&kind=" + answer.EventOverloadEntered)
	if e := feed.await(answer.EventOverloadEntered); e.Step != "telemetry" {
		t.Fatalf("%+v", e)
	}
	echo(t, runs, 100)
	r = r.successor(socket, args...)
	var list answer.ShardList
	r.get("/api/v1/shards", &list)
	if o := list.Overload; o.Step != "telemetry" || o.Steps[0].Entered != 1 || len(r.log("overload: step entered")) != 0 {
		t.Errorf("the new process begins with %+v", o)
	}
	echo(t, runs, 100)
	for _, s := range c.sessions[1:] {
		must(t, s.SendShutdown())
	}
	r.follow("").await(answer.EventOverloadLeft)
	echo(t, runs, 100)
	var one answer.Session
	r.get("/api/v1/sessions/"+sessionOf(t, r, runs), &one)
	for _, w := range []answer.Way{one.ToBackend, one.ToCaller} {
		if w.LostBefore+w.LostBehind+w.Reordered+w.Duplicated != 0 || w.DataPackets != 200 {
			t.Errorf("%+v", w)
		}
	}
}
