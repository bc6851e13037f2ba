// Package need skips tests that lack something, such as root or a program. With
// SRTRELAY_REQUIRE_ALL set, as in CI, they fail instead.
//
// It is for tests only.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Skip skips a test for a reason, or fails it.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("SRTRELAY_REQUIRE_ALL") != "" {
		t.Fatalf("must not be skipped here: %s", reason)
	}
	t.Skip(reason)
}

// Root skips a test that runs without root's rights; what says what needs them.
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, what+": needs root")
	}
}

// Tool returns the path of an installed program, or skips the test.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, name+" is not installed; `make setup` installs it")
	}
	return path
}

// Browser returns the path of Chromium without windows, in which a tab takes a third of the CPU,
// or skips the test. What Debian has in /usr/bin is a script that does not end with the test.
func Browser(t testing.TB) string {
	t.Helper()
	return Tool(t, "/usr/lib/chromium/chromium-headless-shell")
}

// Tools skips a test if one of these programs is not installed.
func Tools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		Tool(t, name)
	}
}
