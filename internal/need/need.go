// Package need leaves tests out for want of something, and fails them instead
// where everything must run: with SRTRELAY_REQUIRE_ALL set, as in CI.
//
// It is for tests only.
package need

import (
	"os"
	"os/exec"
	"testing"
)

// Skip leaves a test out for a reason, or fails it.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("SRTRELAY_REQUIRE_ALL") != "" {
		t.Fatalf("must not be skipped here: %s", reason)
	}
	t.Skip(reason)
}

// Root leaves a test out that lacks root's rights; what says for what it takes
// them.
func Root(t testing.TB, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		Skip(t, what+": needs root")
	}
}

// Tool returns the path of a program from Debian's packages.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Skip(t, name+" is not installed; `make setup` installs it")
	}
	return path
}

// Tools asks for several programs.
func Tools(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		Tool(t, name)
	}
}
