//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"srtrelay/internal/srttest"
)

// In the probation the old process leaves when either is stopped. The sessions are the new
// one's, and end with it.
func TestStopInProbation(t *testing.T) {
	t.Parallel()
	for name, stopped := range map[string]struct{ old, next bool }{
		"new": {next: true}, "both": {old: true, next: true}, "old": {old: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket := filepath.Join(t.TempDir(), "takeover.sock")
			backend := startEcho(t)
			r := startRelay(t, "--shards=2", "--takeover-socket", socket, backendAt(backend.Addr()))
			s := mustDial(t, r.addr, srttest.CallerOptions{})
			echo(t, s, 10)
			next := r.challenge(socket, "--shards=2", "--grace=100ms", backendAt(backend.Addr()))
			next.awaitLog("taken over", func(logLine) bool { return true })
			echo(t, s, 10)
			if stopped.old {
				r.signal(syscall.SIGTERM)
			}
			if stopped.next {
				next.signal(syscall.SIGTERM)
			}
			if code := r.awaitExit(); code != 0 {
				t.Errorf("the old process exits with %d:\n%s", code, r.tail())
			}
			if !stopped.next {
				echo(t, s, 10)
				return
			}
			if code := next.awaitExit(); code != 0 {
				t.Errorf("the new process exits with %d:\n%s", code, next.tail())
			}
			<-s.Done()
		})
	}
}

// SIGHUP in the probation comes to the old process, whose number the service manager has. It
// reloaded nothing that serves anybody. If the new one dies, the old one has the file too.
func TestHangupInProbation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	socket, file := filepath.Join(dir, "takeover.sock"), filepath.Join(dir, "relay.yaml")
	must(t, os.WriteFile(file, []byte("name: one\n"), 0o600))
	args := []string{"--shards=2", "--config", file, backendAt(startEcho(t).Addr())}
	r := startRelay(t, append(slices.Clone(args), "--takeover-socket", socket)...)
	next := r.challenge(socket, args...)
	next.awaitLog("taken over", func(logLine) bool { return true })
	must(t, os.WriteFile(file, []byte("name: two\n"), 0o600))
	r.signal(syscall.SIGHUP)
	next.awaitLog("configuration reloaded", func(logLine) bool { return true })
	if len(r.log("configuration reloaded")) != 0 {
		t.Error("the process that was taken over from has reloaded")
	}
	next.killed = true
	next.signal(syscall.SIGKILL)
	r.awaitLog("configuration reloaded", func(logLine) bool { return true })
}
