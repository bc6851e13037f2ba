//go:build linux

package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

func needSuite(t *testing.T) {
	t.Helper()
	t.Parallel() // no test here looks at how fast anything is
	need.Root(t, "the suite")
	need.Tools(t, "ip", "nginx", "nft")
}

// programDir is where the programs are built. It is removed after the last test.
var programDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "srtbench-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// buildPrograms builds bench and relay once for all tests.
var buildPrograms = sync.OnceValue(func() error {
	for name, path := range map[string]string{"bench": "srtrelay/bench", "relay": "srtrelay/cmd/srtrelay"} {
		if out, err := clocale.Command("go", "build", "-pgo=off", "-o", filepath.Join(programDir, name), path).CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", name, err, out)
		}
	}
	return nil
})

// benchCommand prepares a run of the bench with the relay.
func benchCommand(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	if err := buildPrograms(); err != nil {
		t.Fatal(err)
	}
	return clocale.Command(filepath.Join(programDir, "bench"), append(args, "-relay", filepath.Join(programDir, "relay"))...)
}

// suiteCommand prepares a run of one second and a rate that every machine
// manages.
func suiteCommand(t *testing.T, dir string, args ...string) *exec.Cmd {
	t.Helper()
	return benchCommand(t, append([]string{
		"-only", "publish", "-rounds", "1", "-window", "1s", "-rate", "2000", "-sessions", "20", "-no-wait",
		"-load-cpus", "all", "-peer-cpus", "all", "-out", dir,
	}, args...)...)
}

// namespacesOf lists what is left of a bench's lab.
func namespacesOf(t *testing.T, pid int) []string {
	t.Helper()
	left, err := filepath.Glob(fmt.Sprintf("/run/netns/srtbench-%d-*", pid))
	if err != nil {
		t.Fatal(err)
	}
	return left
}

// The whole suite, small: all peers carry traffic, all reports are written,
// nothing is left.
func TestSuite(t *testing.T) {
	needSuite(t)
	dir := t.TempDir()
	cmd := suiteCommand(t, dir, "-variant", "plain=--gso=off,--gro=off")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if left := namespacesOf(t, cmd.Process.Pid); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	d, err := report.Load(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range d.Runs {
		seen[r.Peer] = true
		if r.Delivered == 0 || r.Sent == 0 || r.Latency == nil || r.HasAdded != (r.Peer != "direct") {
			t.Errorf("%s: %+v", r.Peer, r)
		}
		if strings.HasPrefix(r.Peer, peers.KernelPathName) && r.InKernel != uint64(r.Sessions) {
			t.Errorf("%s: %d of %d sessions were in the kernel", r.Peer, r.InKernel, r.Sessions)
		}
	}
	for _, name := range []string{"direct", "srtrelay", "plain", "nft", "nginx", "goproxy"} {
		if !seen[name] {
			t.Errorf("%s did not run: %s", name, out)
		}
	}
	for _, name := range []string{peers.KernelPathName, peers.KernelPathAcceptName} {
		if !seen[name] && !bytes.Contains(out, []byte(name+" takes no part")) {
			t.Errorf("%s did not run, and nothing says why: %s", name, out)
		}
	}
	for _, name := range []string{"report.md", "report.html"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "goproxy") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The scenarios with other backends and other senders carry traffic too.
func TestBackendsAndTrains(t *testing.T) {
	needSuite(t)
	need.Tool(t, "cc")
	if _, err := os.Stat("/usr/include/srt/srt.h"); err != nil {
		need.Skip(t, "libsrt's headers are not installed; `make setup` installs them")
	}
	dir := t.TempDir()
	cmd := suiteCommand(t, dir, "-only", "libsrt,trains,hooks", "-peers", "direct,kernel-path", "-window", "500ms")
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	d, err := report.Load(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, r := range d.Runs {
		seen[r.Scenario+", "+r.Peer] = true
		if r.Delivered == 0 || r.Sent == 0 || (r.RTT > 0) != (r.Scenario == "libsrt") {
			t.Errorf("%s, %s: %+v", r.Scenario, r.Peer, r)
		}
	}
	wanted := []string{"libsrt, direct", "trains, direct"}
	if !bytes.Contains(out, []byte("takes no part")) {
		wanted = append(wanted, "libsrt, "+peers.KernelPathName, "trains, "+peers.KernelPathName, "hooks, direct", "hooks, "+peers.BesideName)
	}
	for _, run := range wanted {
		if !seen[run] {
			t.Errorf("no run of %s: %s", run, out)
		}
	}
}

// Ctrl-C in the middle takes everything down and still writes the report.
func TestInterrupt(t *testing.T) {
	needSuite(t)
	dir := t.TempDir()
	cmd := suiteCommand(t, dir, "-rounds", "100")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	interruptAt(t, cmd, stdout, "round 1/100")
	if d, err := report.Load(filepath.Join(dir, "report.json")); err != nil || len(d.Runs) == 0 {
		t.Errorf("%d runs in the report, %v", len(d.Runs), err)
	}
}

// interruptAt sends a started bench SIGINT at the first line of its output that
// has this text. It must end with an error and take everything down.
func interruptAt(t *testing.T, cmd *exec.Cmd, stdout io.Reader, text string) {
	t.Helper()
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if strings.Contains(lines.Text(), text) {
			_ = cmd.Process.Signal(syscall.SIGINT)
			break
		}
	}
	for lines.Scan() { // until it ends
	}
	if err := cmd.Wait(); err == nil {
		t.Error("an interrupted bench ended with exit code 0")
	}
	if left := namespacesOf(t, cmd.Process.Pid); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
