// Package scripts_test runs the scripts that change a host, against a made-up
// one: a namespace with its own network and a directory in place of /proc/sys.
package scripts_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
)

// host is a made-up host's kernel settings.
type host struct {
	t    *testing.T
	root string
}

func newHost(t *testing.T, settings map[string]string) host {
	t.Helper()
	need.Root(t, "mounting over /proc/sys")
	need.Tools(t, "unshare", "mount", "nft", "ip")
	h := host{t, t.TempDir()}
	for name, value := range settings {
		file := h.file(name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return h
}

func (h host) file(name string) string {
	return filepath.Join(h.root, "sys", strings.ReplaceAll(name, ".", "/"))
}

func (h host) setting(name string) string {
	h.t.Helper()
	text, err := os.ReadFile(h.file(name))
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

// run runs shell text on the host; $TUNE is the script.
func (h host) run(text string) (out string, code int) {
	h.t.Helper()
	script, err := filepath.Abs("tune-host.sh")
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := clocale.Command("unshare", "--net", "--mount", "bash", "-euc", `
		mount --bind "$1/sys" /proc/sys
		mkdir -p "$1/cpu" && mount --bind "$1/cpu" /sys/devices/system/cpu
		`+text, "host", h.root)
	cmd.Env = clocale.Environ("TUNE="+script, "SRTRELAY_SYSCTL_FILE="+filepath.Join(h.root, "90.conf"))
	b, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return string(b), exit.ExitCode()
	}
	if err != nil {
		h.t.Fatalf("%v: %s", err, b)
	}
	return string(b), 0
}

// row is the line of the table that begins with a setting.
func row(t *testing.T, out, setting string) string {
	t.Helper()
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, setting+" ") {
			return line
		}
	}
	t.Fatalf("no row for %s in\n%s", setting, out)
	return ""
}

var poor = map[string]string{
	"net.core.rmem_max": "212992", "net.core.wmem_max": "33554432", "net.core.netdev_max_backlog": "1000",
	"net.core.netdev_budget": "300", "net.core.netdev_budget_usecs": "8000", "net.core.optmem_max": "131072", "fs.nr_open": "1048576",
}

func TestCheckChangesNothing(t *testing.T) {
	h := newHost(t, poor)
	out, code := h.run(`"$TUNE"`)
	if code != 1 {
		t.Errorf("exit code %d, want 1\n%s", code, out)
	}
	if line := row(t, out, "net.core.rmem_max"); !strings.Contains(line, "OFF") {
		t.Errorf("too small, but: %s", line)
	}
	if line := row(t, out, "net.core.wmem_max"); !strings.Contains(line, " ok ") {
		t.Errorf("large enough, but: %s", line)
	}
	for name, value := range poor {
		if got := h.setting(name); got != value {
			t.Errorf("%s was changed from %s to %s", name, value, got)
		}
	}
}

func TestSetAndPersist(t *testing.T) {
	h := newHost(t, poor)
	out, code := h.run(`"$TUNE" --persist; "$TUNE"`)
	if code != 0 {
		t.Errorf("exit code %d, want 0: what was set must be found well\n%s", code, out)
	}
	if got := h.setting("net.core.rmem_max"); got != "16777216" {
		t.Errorf("rmem_max is %s", got)
	}
	// What is larger than wanted must stay.
	if got := h.setting("net.core.wmem_max"); got != "33554432" {
		t.Errorf("wmem_max is %s", got)
	}
	text, err := os.ReadFile(filepath.Join(h.root, "90.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"net.core.rmem_max = 16777216\n", "net.core.wmem_max = 33554432\n"} {
		if !strings.Contains(string(text), line) {
			t.Errorf("the file lacks %q:\n%s", line, text)
		}
	}
}

func TestTrackingIsFoundAndEnded(t *testing.T) {
	h := newHost(t, poor)
	if err := os.MkdirAll(filepath.Dir(h.file("net.netfilter.nf_conntrack_count")), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.file("net.netfilter.nf_conntrack_count"), []byte("0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	const firewall = `nft 'table ip fw { chain in { type filter hook input priority 0; ct state established accept; }; }'; `
	out, code := h.run(firewall + `"$TUNE" --port 9000`)
	if line := row(t, out, "conntrack"); code != 1 || !strings.Contains(line, "OFF") {
		t.Errorf("exit code %d: %s", code, line)
	}
	out, _ = h.run(firewall + `"$TUNE" --port 9000 --set >/dev/null; "$TUNE" --port 9000`)
	if line := row(t, out, "conntrack"); !strings.Contains(line, "notrack") || !strings.Contains(line, " ok ") {
		t.Errorf("after --set: %s", line)
	}
	// Another port is still tracked.
	out, _ = h.run(firewall + `"$TUNE" --port 9000 --set >/dev/null; "$TUNE" --port 9001 || true`)
	if line := row(t, out, "conntrack"); !strings.Contains(line, "OFF") {
		t.Errorf("another port: %s", line)
	}
}

// A card with one queue is steered in software, over all CPUs.
func TestQueuesOfACard(t *testing.T) {
	h := newHost(t, poor)
	const card = `mount -t sysfs sysfs /sys; mount --bind "$1/cpu" /sys/devices/system/cpu; ip link add card0 type veth peer name card1; `
	out, _ := h.run(card + `"$TUNE" --dev card0 || true`)
	line := row(t, out, "card0 receive queues")
	if cpus := strings.Fields(line)[4]; cpus == "1" {
		t.Skip("one CPU: one queue is enough")
	}
	if !strings.Contains(line, "OFF") {
		t.Errorf("one queue, several CPUs: %s", line)
	}
	out, _ = h.run(card + `"$TUNE" --dev card0 --set >/dev/null || true; "$TUNE" --dev card0 || true`)
	if line := row(t, out, "card0 receive queues"); !strings.Contains(line, "+RPS") {
		t.Errorf("after --set: %s", line)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, args := range [][]string{{"--bogus"}, {"--port"}, {"--port", "x"}, {"--dev", "no-such-card"}} {
		out, err := clocale.Command("./tune-host.sh", args...).CombinedOutput()
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok || exit.ExitCode() != 2 || strings.Count(string(out), "\n") != 1 {
			t.Errorf("%v: %v: %s", args, err, out)
		}
	}
}
