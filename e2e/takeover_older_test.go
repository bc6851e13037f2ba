//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// older is the binary of another version, built by hand: it is upgraded, and rolled back to.
var older = os.Getenv("SRTRELAY_TEST_OLDER")

// successorBy is successor with another binary. It logs what the two processes warn of.
func (r *relay) successorBy(by, socket string, args ...string) *relay {
	r.t.Helper()
	next := startRelayBy(r.t, r.at, []string{by}, r.challengeArgs(socket, args...)...)
	if code := r.awaitExit(); code != 0 {
		r.t.Fatalf("the old process exits with %d:\n%s\nthe new one:\n%s", code, r.tail(), next.tail())
	}
	for _, l := range next.warnings() {
		r.t.Logf("%s: %v", filepath.Base(by), l)
	}
	return next
}

// failing has another binary take over and die in its probation.
func (r *relay) failing(by, socket string, args ...string) {
	r.t.Helper()
	before := len(r.log(wentOn))
	next := startRelayBy(r.t, r.at, []string{by}, r.challengeArgs(socket, args...)...)
	next.kill()
	r.awaitLog(wentOn, func(logLine) bool { return len(r.log(wentOn)) > before })
}

const wentOn = "this process goes on with the sessions of when it was frozen"

// warnings are the lines of the log that are not mere information. The variables of the tests
// are none of the relay's.
func (r *relay) warnings() (found []logLine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		if level := l.text("level"); (level == "WARN" || level == "ERROR") && !strings.Contains(l.text("msg"), "unknown variable") {
			found = append(found, l)
		}
	}
	return found
}

// Another version is upgraded to this one and back, and again, under sessions, each time after
// an attempt that fails in its probation: nothing is lost, and a process that finds a kernel
// path of another version begins one of its own.
func TestOtherVersionTakenOver(t *testing.T) {
	if older == "" {
		t.Skip("SRTRELAY_TEST_OLDER names no binary of another version: see make upgrade-test")
	}
	for _, mode := range []string{"off", "require"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			const sessions, perSecond = 100, 50
			k := openKernelLab(t)
			socket := filepath.Join(t.TempDir(), "takeover.sock")
			var seen payloads
			l := k.backend(k.Origin, loopback.Addr(), &seen)
			args := []string{"--kernel-path=" + mode, "--shards=2", backendAt(l.Addr())}
			r := startRelayBy(t, k.Origin, []string{older}, append([]string{
				"--listen=" + at(origin4, 0), "--takeover-socket", socket,
			}, args...)...)
			flows := dialFlows(t, k.port(callers4), r, sessions, sessions*perSecond)
			runAll(flows)
			await := func() {
				if mode == "require" {
					awaitInKernel(r, flows)
				}
				awaitSent(flows, perSecond)
			}
			for _, by := range []string{binary, older, binary, older, binary} {
				await()
				r.failing(by, socket, args...)
				await()
				r = r.successorBy(by, socket, args...)
			}
			awaitSent(flows, perSecond)
			checkTakenOver(t, r, flows, l, &seen)
		})
	}
}
