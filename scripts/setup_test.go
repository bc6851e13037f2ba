package scripts_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"srtrelay/internal/clocale"
)

// setup runs setup.sh on a host where nothing is installed and apt-get only
// notes what it is asked for. It returns the packages that it would install.
func setup(t *testing.T, args ...string) []string {
	t.Helper()
	bin := t.TempDir()
	asked := filepath.Join(bin, "asked")
	for name, text := range map[string]string{
		"apt-get": "#!/bin/sh\necho \"$@\" >>" + asked + "\n",
		"sudo":    "#!/bin/sh\nexec \"$@\"\n",
	} {
		if err := os.WriteFile(filepath.Join(bin, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bash", "sh", "env", "id", "grep"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	// The script also looks into the sbin directories for what it needs, so
	// that a tool there counts as installed: only what is missing is asked for.
	cmd := clocale.Command(filepath.Join(bin, "bash"), append([]string{"setup.sh"}, args...)...)
	cmd.Env = []string{"PATH=" + bin}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	text, err := os.ReadFile(asked)
	if err != nil {
		t.Fatal(err)
	}
	_, packages, found := strings.Cut(string(text), "--no-install-recommends ")
	if !found {
		t.Fatalf("apt-get was asked for %q", text)
	}
	return strings.Fields(packages)
}

// Who only wants to see the demo gets no servers, browser or shells.
func TestDemoInstallsOnlyItsOwn(t *testing.T) {
	demo := setup(t, "demo")
	for _, name := range []string{"ffmpeg", "srt-tools"} {
		if !slices.Contains(demo, name) {
			t.Errorf("the demo lacks %s: %q", name, demo)
		}
	}
	for _, name := range []string{"chromium-headless-shell", "redis-server", "redis-tools", "nginx", "nftables", "tshark", "zsh", "fish", "linux-perf"} {
		if slices.Contains(demo, name) {
			t.Errorf("the demo installs %s", name)
		}
	}
	all := setup(t)
	for _, name := range append(demo, "chromium-headless-shell", "redis-tools", "tshark") {
		if !slices.Contains(all, name) {
			t.Errorf("the tests lack %s: %q", name, all)
		}
	}
}

func TestSetupRefusesUnknownArgument(t *testing.T) {
	out, err := clocale.Command("bash", "setup.sh", "no-such").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no-such: unknown argument") {
		t.Errorf("%v: %q", err, out)
	}
}
