//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

// successor starts a relay that takes over from r, and waits until r has ended.
func (r *relay) successor(socket string, args ...string) *relay {
	r.t.Helper()
	next := r.challenge(socket, args...)
	next.awaitLog("relaying", func(logLine) bool { return true })
	if code := r.awaitExit(); code != 0 {
		r.t.Fatalf("the old process exits with %d:\n%s\nthe new one:\n%s", code, r.tail(), next.tail())
	}
	return next
}

// challenge starts a relay that is to take over from r.
func (r *relay) challenge(socket string, args ...string) *relay {
	r.t.Helper()
	mine := []string{"--takeover=require", "--takeover-socket", socket, "--api", r.api[len("http://"):]}
	for _, a := range r.all {
		mine = append(mine, "--listen", a.String())
	}
	return startRelay(r.t, slices.Concat(mine, args)...)
}

// takeOvers is how many take-overs follow each other in a test: each has its probation
// of 5 s.
func takeOvers(t *testing.T) int {
	text := os.Getenv("SRTRELAY_TEST_TAKEOVERS")
	if text == "" {
		return 2
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// Numbered datagrams go both ways through take-overs: none is lost, doubled, changed or
// overtaken, no session ends, and no process loses count.
func TestTakeOversLoseNothing(t *testing.T) {
	t.Parallel()
	const sessions, rate = 40, 4000
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	mirror := startMirror(t)
	args := []string{"--shards=4", backendAt(mirror.Addr())}
	r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)
	flows := dialFlows(t, openPort(t, loopback), r, sessions, rate)
	runAll(flows)
	for range takeOvers(t) {
		awaitSent(flows, 100)
		r = r.successor(socket, args...)
	}
	awaitSent(flows, 100)
	stopAll(flows)
	checkAll(flows, mirror)
	if st := r.stats(); st["established"] != sessions || st["sessions"] != sessions {
		t.Errorf("%d sessions established, %d there", st["established"], st["sessions"])
	}
}
