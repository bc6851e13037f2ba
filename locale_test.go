package srtrelay_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Programs whose output is parsed are started in the C locale, by the one
// package that sees to that.
func TestProgramsAreStartedInTheCLocale(t *testing.T) {
	direct := regexp.MustCompile(`\bexec\.Command(Context)?\(`)
	for _, s := range sources(t) {
		// The relay starts itself, in the locale that its operator wants.
		if s.file == "relay/takeover/launch.go" {
			continue
		}
		if s.dir != "internal/clocale" && s.file != "locale_test.go" && direct.Match(s.text) {
			t.Errorf("%s starts a program in the operator's locale: use internal/clocale", s.file)
		}
	}
}

func TestScriptsRunInTheCLocale(t *testing.T) {
	var scripts []string
	for _, pattern := range []string{"scripts/*.sh", "internal/*/*.sh", "deploy/*.sh", "deploy/*/*.sh"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		scripts = append(scripts, found...)
	}
	if len(scripts) < 4 {
		t.Fatalf("only %v found: the test runs in the wrong place", scripts)
	}
	for _, name := range append(scripts, "Makefile") {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		want := "\nexport LC_ALL=C\n"
		if name == "Makefile" {
			want = "\nexport LC_ALL := C\n"
		}
		if !strings.Contains(string(text), want) {
			t.Errorf("%s does not say%s", name, want)
		}
	}
	// Whoever starts it in whichever locale.
	cmd := exec.Command("make", "--no-print-directory", "-s", "--eval", "locale-test: ; @echo $$LC_ALL", "locale-test")
	cmd.Env = append(os.Environ(), "LC_ALL=de_DE.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "C" {
		t.Errorf("make runs recipes with LC_ALL=%s, %v", out, err)
	}
}
