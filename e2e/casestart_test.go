//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/clocale"
	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
)

// refuseToStart runs the binary, which must exit with code 2 and one line that
// says why.
func refuseToStart(t *testing.T, why string, args ...string) {
	t.Helper()
	refuseToStartBy(t, []string{binary}, why, args...)
}

// refuseToStartBy is refuseToStart with a command in front of the arguments that becomes the
// relay.
func refuseToStartBy(t *testing.T, by []string, why string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	command := slices.Concat(by, []string{"--log-level=error"}, args)
	cmd := clocale.CommandContext(ctx, command[0], command[1:]...)
	cmd.WaitDelay = time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 2 {
		t.Errorf("%q: %v, want exit code 2", args, err)
	}
	said := stderr.String()
	if strings.Count(said, "\n") != 1 || !strings.HasPrefix(said, "srtrelay: ") || !strings.Contains(said, why) || stdout.Len() > 0 {
		t.Errorf("%q: stderr %q, want one line with %q; stdout %q", args, said, why, stdout.String())
	}
}

// A name that does not resolve is a backend that is down, and shown as such; it
// holds up neither the start nor the others.
func TestUnresolvedNameIsABackendThatIsDown(t *testing.T) {
	t.Parallel()
	l := startMirror(t)
	const name = "no-such-host.invalid:10080"
	r := startRelay(t, backendAt(l.Addr()), "--backend=srt://"+name)
	c := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	echo(t, c, 1)
	r.awaitLog("backend name not resolved", func(l logLine) bool { return l.text("name") == name })
	if b := r.listing()[name]; b.Alive || b.Address != "" || !strings.HasPrefix(b.Problem, "name does not resolve: ") {
		t.Errorf("%+v", b)
	}
}

// The only backend returns between two probes: callers do not wait for the next
// one, which is seconds away.
func TestReturnedBackendIsFoundByItsCaller(t *testing.T) {
	t.Parallel()
	at := freeaddr.New()
	r := startRelay(t, backendAt(at))
	r.awaitLog("backend down", func(logLine) bool { return true })
	_, err := tryDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	if no, ok := errors.AsType[*srttest.Rejection](err); !ok || no.Code != 2503 {
		t.Fatalf("without a backend: %v", err)
	}
	l := startBackend(t, srttest.ListenerConfig{Mode: srttest.Echo, Local: at})
	c := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	connectionOf(t, c, l)
	echo(t, c, 1)
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	free := []string{"--listen=127.0.0.1:0", "--api=127.0.0.1:0"}
	for _, c := range []struct {
		why  string
		args []string
	}{
		{`--listne: unknown flag, did you mean "--listen"?`, []string{"--listne=127.0.0.1:0"}},
		{"--shards", []string{"--shards=many"}},
		{"address already in use", []string{"--api=127.0.0.1:0", "--listen=" + r.addr.String()}},
		{"address already in use", []string{"--listen=127.0.0.1:0", "--api=" + strings.TrimPrefix(r.api, "http://")}},
		{"cannot assign requested address", []string{"--api=127.0.0.1:0", "--listen=192.0.2.1:0"}},
		{"--backend", append(free, "--backend=http://127.0.0.1:1")},
	} {
		refuseToStart(t, c.why, c.args...)
	}
}
