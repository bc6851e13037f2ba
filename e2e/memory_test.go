//go:build linux

package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/srttest"
)

// The bug: with a limit of 14 open files the relay started and refused everyone.
func TestTooFewDescriptorsAreRefusedAtStart(t *testing.T) {
	t.Parallel()
	cmd := clocale.CommandContext(t.Context(), "/bin/sh", "-c", `ulimit -n 14 && exec "$0" "$@"`,
		binary, "--log-level=error", "--listen=127.0.0.1:0", "--api=127.0.0.1:0", "--shards=2")
	said, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("%v, want exit code 2", err)
	}
	if line := string(said); strings.Count(line, "\n") != 1 || !strings.Contains(line, "RLIMIT_NOFILE") || !strings.Contains(line, "is 14") {
		t.Errorf("said %q, want one line that names the limit", line)
	}
}

// The bug: 128 shards took 2.4 GB and 16 s to start, all of it the memory of
// batches into which nothing had come yet.
func TestManyIdleShardsTakeLittleMemory(t *testing.T) {
	t.Parallel()
	r := startPlainRelay(t, "--shards", "128", backendAt(startEcho(t).Addr()))
	const most = 350 << 10
	if n := r.residentKiB(); n > most {
		t.Errorf("%d KiB for 128 idle shards, at most %d wanted", n, most)
	}
	// A shard that works takes what its own traffic needs, and no other more.
	for range 8 {
		echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/one,m=publish"}), 20)
	}
	if n := r.residentKiB(); n > most {
		t.Errorf("%d KiB with 8 sessions, at most %d wanted", n, most)
	}
}
