//go:build linux

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/need"
)

// underStress prepares one of the runs that put a relay under stress.
func underStress(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if testing.Short() {
		t.Skip("takes up to a minute")
	}
	t.Parallel()
	need.Root(t, "the lab")
	need.Tools(t, "ip", "redis-server", "redis-cli")
	return benchCommand(t, args...)
}

// The run that `make hostile` makes, with fewer sessions, shorter phases, and
// only some of them.
func TestHostile(t *testing.T) {
	cmd := underStress(t, "hostile", "-out", t.TempDir(), "-short", "-only", "single", "-sessions", "60", "-datagrams", "20000", "-seed", "7",
		"-phases", "server stopped 3,hostile datagrams,hijack,wrong types,mended,log reader")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, phase := range []string{"calm", "server stopped 3 s", "hostile datagrams", "hijack", "wrong types", "Redis mended", "log reader stalls", "log reader dies", "gauges", "end"} {
		if !strings.Contains(string(out), "single: "+phase+": PASS") {
			t.Errorf("%s did not pass: %s", phase, out)
		}
	}
	if left := namespacesOf(t, cmd.Process.Pid); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// interrupted ends a run by Ctrl-C behind a line of its output, and looks at
// what it leaves.
func interrupted(t *testing.T, cmd *exec.Cmd, behind string) {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	interruptAt(t, cmd, stdout, behind)
}

// Ctrl-C takes everything down, also while the relay is stopped.
func TestHostileInterrupt(t *testing.T) {
	interrupted(t, underStress(t, "hostile", "-out", t.TempDir(), "-short", "-only", "single", "-sessions", "20", "-phases", "relay stopped"), "relay stopped: SIGSTOP")
}

// The run that `make soak` makes, of seconds.
func TestSoak(t *testing.T) {
	out := t.TempDir()
	cmd := underStress(t, "soak", "-duration", "18s", "-streams", "40", "-connects", "30", "-seed", "7", "-out", out)
	text, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, text)
	}
	for _, name := range []string{"soak.md", "soak.html", "soak.json"} {
		if content, err := os.ReadFile(filepath.Join(out, name)); err != nil || !strings.Contains(string(content), "ended as planned") && name != "soak.json" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if left := namespacesOf(t, cmd.Process.Pid); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Ctrl-C takes everything down, and what was seen is written all the same.
func TestSoakInterrupt(t *testing.T) {
	out := t.TempDir()
	interrupted(t, underStress(t, "soak", "-duration", "1m", "-streams", "10", "-connects", "10", "-out", out), "connects/s")
	if _, err := os.Stat(filepath.Join(out, "soak.json")); err != nil {
		t.Error(err)
	}
}
