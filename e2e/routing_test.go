//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"srtrelay/internal/srttest"
)

// homeOf asks where a stream ID would go.
func (r *relay) homeOf(id string) string {
	r.t.Helper()
	var data struct{ Backend struct{ ID string } }
	r.get("/api/v1/resolve?streamid="+id, &data)
	return data.Backend.ID
}

// A caller whose backend does not answer the handshake is connected to another
// within its own 3 s. The probes find nothing wrong with some such backends.
func TestSilentBackendsCallersAreMoved(t *testing.T) {
	t.Parallel()
	for name, silence := range map[string]func(*srttest.Listener){
		"silent":                func(l *srttest.Listener) { l.Silent(true) },
		"silent to CONCLUSIONs": func(l *srttest.Listener) { l.SilentConclusion(true) },
		"refusing":              func(l *srttest.Listener) { l.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backends := []*srttest.Listener{startMirror(t), startMirror(t)}
			r := startRelay(t, "--policy", "hash", backendAt(backends[0].Addr()), backendAt(backends[1].Addr()))
			bad, good := backends[0], backends[1]
			if r.homeOf("live/moved") == good.Addr().String() {
				bad, good = good, bad
			}
			silence(bad)
			// It repeats nothing: all is the relay's doing.
			s, err := tryDial(t, r.addr, srttest.CallerOptions{StreamID: "live/moved", Style: srttest.Gosrt})
			must(t, err)
			connectionOf(t, s, good)
			echo(t, s, 20)
			st := counted(r, "session", func(st stats) bool { return st["established"] == 1 && st["half_open"] == 0 })
			// On a starved machine the probes may have been first.
			if st["rejected"] != 0 || st["failovers"] == 0 && len(r.log("backend down")) == 0 {
				t.Errorf("one caller, moved: %v", st)
			}
			// The stream has moved: later callers do not try the bad one.
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/moved"}), 1)
			if again := r.stats(); again["failovers"] != st["failovers"] {
				t.Errorf("the second caller was sent to the bad backend: %d failovers", again["failovers"])
			}
		})
	}
}

// An operator drains a server: its streams go on there, also for their new
// players, new streams go elsewhere, until it is undrained.
func TestDrainedServerGetsNoNewStreams(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	servers, listeners, _ := startServers(t, r, 2)
	old := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/old,m=publish"})
	_, drained := connectionOf(t, old, listeners...)
	f := keepFlowing(t, old)
	r.drain(servers[drained].id())
	if !r.listing()[servers[drained].id()].Draining {
		t.Error("not listed as draining")
	}
	for i := range 5 {
		s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/new%d,m=publish", i)})
		if _, at := connectionOf(t, s, listeners...); at == drained {
			t.Errorf("new stream %d is on the drained server", i)
		}
	}
	player := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/old,m=request"})
	if _, at := connectionOf(t, player, listeners...); at != drained {
		t.Error("a player is not where its publisher is")
	}
	r.undrain(servers[drained].id())
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/after,m=publish"})
	if _, at := connectionOf(t, s, listeners...); at != drained { // two sessions against five
		t.Error("undrained, it still gets nothing")
	}
	f.finish(listeners...)
}

// With --register-token nothing changes without it.
func TestTokenIsRequired(t *testing.T) {
	t.Parallel()
	r := startRelay(t, "--register-token", "correct-horse")
	l := startMirror(t)
	s := serverAt(0, l.Addr())
	id := "/api/v1/backends/" + s.id()
	const token = "?token=correct-horse"
	register := func(end string) (int, string) {
		status, answer, err := s.Beat(r.heartbeatURL() + end)
		must(t, err)
		return status, answer
	}
	// SRS drops the query, and with it the token.
	for _, end := range []string{"", "?token=", token, "/", "/correct-hors", "/wrong-horse", "/wrong-horse" + token} {
		if status, answer := register(end); status != http.StatusUnauthorized {
			t.Errorf("registered with %q: %d %s", end, status, answer)
		}
	}
	if n := len(r.listing()); n != 0 {
		t.Errorf("%d backends without a token", n)
	}
	if status, answer := register("/correct-horse"); status != http.StatusOK {
		t.Fatalf("not registered: %d %s", status, answer)
	}
	r.awaitAlive(s)
	if log := r.tail(); strings.Contains(log, "horse") {
		t.Errorf("a token is logged:\n%s", log)
	}
	for _, c := range [][2]string{{http.MethodPost, "/drain"}, {http.MethodPost, "/undrain"}, {http.MethodDelete, ""}} {
		if status, answer := r.call(c[0], id+c[1], ""); status != http.StatusUnauthorized {
			t.Errorf("%s %s without a token: %d %s", c[0], c[1], status, answer)
		}
	}
	if b := r.listing()[s.id()]; b.Draining || !b.Alive {
		t.Errorf("changed without a token: %+v", b)
	}
	for _, c := range [][2]string{{http.MethodPost, "/drain"}, {http.MethodPost, "/undrain"}, {http.MethodDelete, ""}} {
		r.mustCall(c[0], id+c[1]+token, "")
	}
	if n := len(r.listing()); n != 0 {
		t.Errorf("%d backends after it was forgotten", n)
	}
}

// Without --players-create a player needs a publisher.
func TestPlayerOfUnknownStreamIsRefused(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, "--players-create=false", backendAt(l.Addr()))
	const player = "#!::r=live/x,m=request"
	_, err := tryDial(t, r.addr, srttest.CallerOptions{StreamID: player})
	wantRejection(t, err, 2404)
	if n := l.Stats().Conclusions; n != 0 {
		t.Errorf("the backend got %d CONCLUSIONs", n)
	}
	mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: player}), 1)
}

// Relays that know nothing of each other hash a stream to the same server.
func TestHashAgreesWithoutSharedState(t *testing.T) {
	t.Parallel()
	const streams = 50
	a, b := startRelay(t, "--policy", "hash"), startRelay(t, "--policy", "hash")
	servers, listeners, _ := startServers(t, a, 5)
	startHeartbeats(t, b, servers...)
	b.awaitAlive(servers...)
	each := checkMet(t, meet(t, "h", streams, a, b), listeners...)
	used := 0
	for _, n := range each {
		if n > 0 {
			used++
		}
	}
	if used < 3 {
		t.Errorf("%d streams are spread %v", streams, each)
	}
}

// rulesFile is a file that can be written anew, never seen half-written.
func rulesFile(t *testing.T, text string) (path string, rewrite func(string)) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "rules.yaml")
	rewrite = func(text string) {
		t.Helper()
		must(t, os.WriteFile(path+".new", []byte(text), 0o600))
		must(t, os.Rename(path+".new", path))
	}
	rewrite(text)
	return path, rewrite
}

// The file of rules: a default stream ID, who may publish, and both read anew
// on SIGHUP. A bad file changes nothing.
func TestRulesAreReloaded(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	path, rewrite := rulesFile(t, "default: \"#!::r=live/first,m=publish\"\n")
	r := startRelay(t, "--rules", path, backendAt(l.Addr()))
	s := wantRoute(t, r, srttest.CallerOptions{}, "__defaultVhost__/live/first", "publisher")
	if conn, _ := connectionOf(t, s, l); conn.StreamID != "#!::r=live/first,m=publish" {
		t.Errorf("the backend was told %q", conn.StreamID)
	}
	reload := func(text, told string) {
		t.Helper()
		before := len(r.log(told))
		rewrite(text)
		r.signal(syscall.SIGHUP)
		r.awaitLog(told, func(logLine) bool { return len(r.log(told)) > before })
	}
	reload("default: \"#!::r=live/second,m=publish\"\naccess: {publish: {deny: [127.0.0.1]}}\n", "rules in force")
	_, err := tryDial(t, r.addr, srttest.CallerOptions{})
	wantRejection(t, err, 2403)
	wantRoute(t, r, srttest.CallerOptions{StreamID: "live/x"}, "__defaultVhost__/live/x", "player")

	reload("default: [not, a, stream]\n", "rules not reloaded, the old ones stay in force")
	_, err = tryDial(t, r.addr, srttest.CallerOptions{})
	wantRejection(t, err, 2403)

	reload("default: \"#!::r=live/second,m=publish\"\n", "rules in force")
	wantRoute(t, r, srttest.CallerOptions{}, "__defaultVhost__/live/second", "publisher")
	echo(t, s, 5) // has not noticed any of it
	if n := l.Count(); n != 3 {
		t.Errorf("the backend has %d connections, want those of three callers let in", n)
	}
}
