//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// The relay relays with no more rights than the pod of deploy/kubernetes has, and as a user
// without any: then a line says what it misses, and what to do.
func TestRightsOfThePod(t *testing.T) {
	t.Parallel()
	need.Root(t, "to give up its rights")
	need.Tools(t, "setpriv")
	// Others may not enter the folder of the binary under test.
	dir, err := os.MkdirTemp("", "srtrelay-rights")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	must(t, os.Chmod(dir, 0o755))
	program := filepath.Join(dir, "srtrelay")
	content, err := os.ReadFile(binary)
	must(t, err)
	// A program cannot be executed while a child that another test forks has it open for writing.
	syscall.ForkLock.RLock()
	err = os.WriteFile(program, content, 0o755)
	syscall.ForkLock.RUnlock()
	must(t, err)

	bound := "-all"
	for _, name := range podCapabilities(t) {
		bound += ",+" + strings.ToLower(name)
	}
	most, err := os.ReadFile("/proc/sys/net/core/rmem_max")
	must(t, err)
	limit, err := strconv.Atoi(strings.TrimSpace(string(most)))
	must(t, err)
	for _, c := range []struct {
		name   string
		rights []string
		lacks  bool // the right to large buffers
	}{
		{"capabilities of the pod", []string{"--bounding-set=" + bound}, false},
		{"user 65532", []string{"--reuid=65532", "--regid=65532", "--clear-groups", "--bounding-set=-all"}, limit < 16<<20},
	} {
		t.Run(c.name, func(t *testing.T) {
			by := slices.Concat([]string{"setpriv", "--inh-caps=-all", "--no-new-privs"}, c.rights, []string{program})
			l := startEcho(t)
			r := startRelayBy(t, nil, by, backendAt(l.Addr()))
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/a,m=publish"}), 10)
			warned := r.log("receive buffer smaller than asked")
			if lacks := len(warned) > 0; lacks != c.lacks {
				t.Errorf("lacks the right to large buffers: %v, want %v\n%s", lacks, c.lacks, r.tail())
			}
			for _, line := range warned {
				if !strings.Contains(line.text("advice"), "CAP_NET_ADMIN") {
					t.Errorf("the line does not say what to do: %v", line)
				}
			}
			if pinned := len(r.log("shard not pinned")) == 0; !pinned {
				t.Errorf("not pinned\n%s", r.tail())
			}
		})
	}
}

// podCapabilities are those that the DaemonSet adds.
func podCapabilities(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile("../deploy/kubernetes/srtrelay.yaml")
	must(t, err)
	_, rest, _ := strings.Cut(string(text), "drop: [ALL]")
	for _, m := range regexp.MustCompile(`(?m)^ +- ([A-Z_]+)$`).FindAllStringSubmatch(rest, -1) {
		names = append(names, m[1])
	}
	if !slices.Contains(names, "NET_ADMIN") {
		t.Fatalf("capabilities %v", names)
	}
	return names
}
