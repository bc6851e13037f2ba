//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/srttest"
)

const (
	// fdLimit is what ten thousand sessions may hold in files.
	fdLimit = 200
	// memoryLimit is what an idle session may hold resident, in bytes.
	memoryLimit = 4096
)

// Ten thousand sessions at once: all connect, data flows both ways in each,
// keepalives keep them, and nothing is left of them after their SHUTDOWNs. No test
// runs beside it: nobody keeps those alive that wait for the last to connect.
func TestTenThousandSessions(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	const ports, perPort = 100, 100
	a, b := startMirror(t), startMirror(t)
	// Fine enough to see what one session is made of.
	by := []string{"env", "GODEBUG=memprofilerate=16384", plainBinary(t)}
	r := startRelayBy(t, nil, by, backendAt(a.Addr()), backendAt(b.Addr()), "--shards", "2",
		"--max-handshakes-per-source", "4096", "--max-sessions-per-source", "1000000", "--idle-timeout", "8s")
	routines, files := goroutines(r), r.openFDs()
	start := readHeap(r)

	idler := mustDial(t, r.addr, srttest.CallerOptions{SocketID: math.MaxInt32})
	c := gather(t, r, ports, perPort)
	st := counted(r, "all sessions", func(st stats) bool { return st["established"] == ports*perPort+1 && st["half_open"] == 0 })
	if st["sessions"] != ports*perPort+1 {
		t.Errorf("after all connected: %v", st)
	}
	if n := r.openFDs(); n >= fdLimit {
		t.Errorf("%d files open, want fewer than %d", n, fdLimit)
	}
	// The idler shows that it is the keepalives that keep the others.
	beat := time.NewTicker(time.Second)
	defer beat.Stop()
	for idle := true; idle; {
		c.keepalive()
		select {
		case <-idler.Done():
			idle = false
		case <-beat.C:
		}
	}
	reportMemory(t, start, readHeap(r), ports*perPort)
	c.exchange(4, 1316)
	c.checkClean(a, b)
	if st := r.stats(); st["sessions"]-st["tombstones"] != ports*perPort {
		t.Errorf("sessions that lived on keepalives: %v", st)
	}
	c.shutDown(r)
	awaitResources(r, routines, files)
	if st := r.stats(); st["events_lost"]+st["kernel_drops"]+st["shutdowns_made"] != 2 {
		t.Errorf("want no more than the idler's two SHUTDOWNs made, and nothing lost: %v", st)
	}
}

// heap is the relay's memory at one moment, after a collection.
type heap struct {
	resident int            // bytes, without those of the batches
	sums     map[string]int // of runtime.MemStats
	sites    map[string]int // bytes in use by the code that allocated them
}

// readHeap collects garbage in the relay and reads its heap profile.
func readHeap(r *relay) heap {
	r.t.Helper()
	h := heap{sums: map[string]int{}, sites: map[string]int{}}
	fetch(r, "/debug/pprof/heap?gc=1")
	profile := fetch(r, "/debug/pprof/heap?gc=1&debug=1")
	// A batch follows the traffic, not the sessions.
	h.resident = r.residentKiB()<<10 - int(r.stats()["batch_bytes"])
	scan := bufio.NewScanner(strings.NewReader(profile))
	scan.Buffer(nil, 1<<20)
	var rate, bytes float64
	site := ""
	for scan.Scan() {
		line := scan.Text()
		var objects, size, twice, n float64
		var name string
		switch {
		case strings.HasPrefix(line, "heap profile:"):
			_, _ = fmt.Sscanf(line[strings.LastIndexByte(line, '/')+1:], "%g", &twice)
			rate = twice / 2
		case strings.HasPrefix(line, "#\t"):
			// The innermost frame of ours, else the innermost of all.
			frame := strings.Fields(line)[2]
			if bytes > 0 && (site == "" || !strings.HasPrefix(site, "srtrelay/") && strings.HasPrefix(frame, "srtrelay/")) {
				site = frame
			}
		case strings.HasPrefix(line, "# "):
			if _, err := fmt.Sscanf(line, "# %s = %g", &name, &n); err == nil {
				h.sums[name] = int(n)
			}
		case line == "":
			h.book(site, bytes)
			site, bytes = "", 0
		default:
			h.book(site, bytes)
			site, bytes = "", 0
			if _, err := fmt.Sscanf(line, "%g: %g", &objects, &size); err == nil && objects > 0 {
				// A sample stands for all that were not taken.
				bytes = size / (1 - math.Exp(-size/objects/rate))
			}
		}
	}
	return h
}

func (h *heap) book(site string, bytes float64) {
	if i := strings.LastIndex(site, "+0x"); i > 0 {
		h.sites[site[:i]] += int(bytes)
	}
}

// reportMemory logs what an idle session costs and holds the limit.
func reportMemory(t *testing.T, before, after heap, sessions int) {
	t.Helper()
	each := (after.resident - before.resident) / sessions
	t.Logf("resident memory: %d KiB before, %d KiB with %d idle sessions: %d bytes per session",
		before.resident>>10, after.resident>>10, sessions, each)
	for _, name := range []string{"HeapAlloc", "HeapInuse", "HeapIdle", "HeapReleased", "Stack", "BuckHashSys", "GCSys"} {
		t.Logf("%-12s %9d before, %9d after: %5d per session", name, before.sums[name], after.sums[name],
			(after.sums[name]-before.sums[name])/sessions)
	}
	type growth struct {
		site  string
		bytes int
	}
	var all []growth
	for site, n := range after.sites {
		all = append(all, growth{site, n - before.sites[site]})
	}
	slices.SortFunc(all, func(a, b growth) int { return b.bytes - a.bytes })
	for _, g := range all[:min(len(all), 12)] {
		t.Logf("%5d bytes per session by %s", g.bytes/sessions, g.site)
	}
	if each >= memoryLimit {
		t.Errorf("an idle session takes %d bytes, want less than %d", each, memoryLimit)
	}
}
