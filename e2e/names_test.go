//go:build linux

package e2e

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/srttest"
)

// command runs a command of the relay's binary to its end.
func (r *relay) command(args ...string) (code int, stdout, stderr string) {
	r.t.Helper()
	cmd := clocale.CommandContext(patiently(r.t), binary, args...)
	cmd.Env = clocale.Environ("SRTRELAY_API=" + strings.TrimPrefix(r.api, "http://"))
	var out, complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaints
	err := cmd.Run()
	if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
		r.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), complaints.String()
}

// Streams are named as people write them, and a name that no stream has is an error.
func TestStreamsAsPeopleNameThem(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()))
	f := keepFlowing(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"}))
	dir := t.TempDir()
	file := filepath.Join(dir, "x.pcapng")
	for _, c := range []struct {
		code int
		want string // in what is printed
		args []string
	}{
		{0, "__defaultVhost__/live/x", []string{"streams", "live/x", "--json"}},
		{0, "__defaultVhost__/live/x", []string{"streams", "__defaultVhost__/live/x", "--json"}},
		{1, "no such stream: live/y", []string{"streams", "live/y"}},
		{0, "__defaultVhost__/live/x", []string{"sessions", "--stream", "live/x", "--json"}},
		{0, `"sessions": []`, []string{"sessions", "--stream", "live/x", "--role", "player", "--json"}},
		{1, "no such stream: live/y", []string{"sessions", "--stream", "live/y", "--json"}},
		{0, "written to", []string{"capture", "--stream", "live/x", "--time", "1s", "-o", file}},
		{1, "no such stream: live/y", []string{"capture", "--stream", "live/y", "--time", "1s", "-o", file + ".y"}},
		{1, "no datagram came", []string{"capture", "--stream", "live/y", "--wait", "--time", "1s", "-o", filepath.Join(dir, "wait")}},
		{1, "no such session: 0-9-9", []string{"sessions", "0-9-9"}},
		{1, "no such session: 99-0-1", []string{"sessions", "99-0-1"}},
		{1, "no such session: 99-0-1", []string{"capture", "--session", "99-0-1", "-o", file + ".y"}},
	} {
		code, stdout, stderr := r.command(c.args...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
	if _, err := os.Stat(file + ".y"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a refused capture leaves a file: %v", err)
	}
	if info, err := os.Stat(file); err != nil || info.Size() < 1000 {
		t.Errorf("the capture of live/x: %v, %v", info, err)
	}
	f.finish(l)
}

// What happened can be asked for afterwards.
func TestPastEvents(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	must(t, s.SendShutdown())
	r.awaitEmpty()
	for _, c := range []struct {
		code int
		want string
		args []string
	}{
		{0, "session-ended", []string{"--since", "10m", "--stream", "live/x"}},
		{0, "session-begun", nil},
		{1, "no event of stream live/y", []string{"--stream", "live/y"}},
		{0, "the relay has no events from before", []string{"--since", "24h", "--kind", "session-ended"}},
	} {
		code, stdout, stderr := r.command(append([]string{"events", "--no-follow"}, c.args...)...)
		if code != c.code || !strings.Contains(stdout+stderr, c.want) {
			t.Errorf("%q: exit code %d, want %d and %q\n%s%s", c.args, code, c.code, c.want, stdout, stderr)
		}
	}
}
