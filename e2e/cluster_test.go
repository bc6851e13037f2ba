//go:build linux

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// ticksPerSecond is USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// cpuTime is what the process has used so far.
func (r *relay) cpuTime() time.Duration {
	r.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", r.cmd.Process.Pid))
	must(r.t, err)
	_, rest, _ := strings.Cut(string(b), ") ") // the name may hold blanks
	fields := strings.Fields(rest)
	var user, system int64
	_, err = fmt.Sscan(fields[11]+" "+fields[12], &user, &system)
	must(r.t, err)
	return time.Duration(user+system) * time.Second / ticksPerSecond
}

// Two hundred servers that register by heartbeat every second, and thousands of streams: the
// streams spread evenly, and later callers of a stream reach its server.
func TestClusterOf200Backends(t *testing.T) {
	const backends = 200
	ports, perPort := 100, 100
	if raced {
		perPort = 20 // the callers' own pace; the balancer's tests have 10,000
	}
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	r := startRelay(t, "--shards", "2", "--max-handshakes-per-source", "4096", "--max-sessions-per-source", "100000", "--log-level", "info")
	before := r.residentKiB()
	servers, listeners, h := startServers(t, r, backends)
	grown := r.residentKiB() - before

	const rounds = 10
	began, used := time.Now(), r.cpuTime()
	h.beatOn(rounds)
	wall, cpu := time.Since(began), r.cpuTime()-used
	t.Logf("%d backends, a heartbeat and a probe a second of each: %d KiB resident, %.1f %% of one CPU (race detector: %v)",
		backends, grown, 100*cpu.Seconds()/wall.Seconds(), raced)

	c := gather(t, r, ports, perPort)
	c.exchange(1, 188)
	streams := ports * perPort
	home := homesOf(r, streams)
	each := map[string]int{}
	for _, id := range home {
		each[id]++
	}
	mean := float64(streams) / backends
	for _, s := range servers {
		if n := float64(each[s.id()]); n < 0.8*mean || n > 1.2*mean {
			t.Errorf("%s has %v streams, want %v within 20 %%", s.id(), n, mean)
		}
	}
	total := 0
	for _, b := range r.listing() {
		total += b.Sessions
	}
	if total != streams {
		t.Errorf("the books show %d sessions, want %d", total, streams)
	}
	for i := 0; i < streams; i += streams / 50 {
		id := fmt.Sprintf("#!::r=live/s%05d,m=request", i)
		s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: id, SocketID: uint32(streams + 1 + i)})
		_, at := connectionOf(t, s, listeners...)
		if want := home[fmt.Sprintf("__defaultVhost__/live/s%05d", i)]; servers[at].id() != want {
			t.Errorf("the player of stream %d is at %s, its publisher at %s", i, servers[at].id(), want)
		}
		must(t, s.SendShutdown())
	}
	c.checkClean(listeners...)
	c.shutDown(r)
}

// homesOf returns the backend of each stream of n sessions, which have begun.
func homesOf(r *relay, n int) map[string]string {
	r.t.Helper()
	home := make(map[string]string, n)
	for cursor, first := "", true; first || cursor != ""; first = false {
		var page answer.SessionList
		r.get("/api/v1/sessions?limit=1000&cursor="+cursor, &page)
		for _, s := range page.Sessions {
			home[s.Stream] = s.Backend.ID
		}
		cursor = page.Cursor
	}
	if len(home) != n {
		r.t.Errorf("%d streams are listed, want %d", len(home), n)
	}
	return home
}
