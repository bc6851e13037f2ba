package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStepPassesOutputAndCodeOn(t *testing.T) {
	var out, progress strings.Builder
	code := step("talk", []string{"sh", "-c", "echo said; sleep 0.2; exit 3"}, 20*time.Millisecond, &out, &progress)
	if code != 3 || out.String() != "said\n" {
		t.Errorf("code %d, output %q", code, out.String())
	}
	for _, want := range []string{"== talk\n", "   talk, 0s: running\n", "   talk took "} {
		if !strings.Contains(progress.String(), want) {
			t.Errorf("no %q in\n%s", want, progress.String())
		}
	}
	if step("none", []string{"/no/such/program"}, time.Hour, &out, &progress) != 1 {
		t.Error("a program that is not there passes")
	}
}

// Lines are as go 1.26 prints them, in the order of packages that run at once.
func TestTestsAreRendered(t *testing.T) {
	text, err := os.ReadFile("testdata/events.json")
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	r := newTests(&out)
	l := &lines{each: r.line}
	for len(text) > 0 { // as it comes out of a pipe
		n := min(len(text), 50)
		if _, err := l.Write(text[:n]); err != nil {
			t.Fatal(err)
		}
		text = text[n:]
	}
	if want := "3 packages done, compiling"; r.running() != want {
		t.Errorf("at the end: %s", r.running())
	}
	r.slowest()
	want, err := os.ReadFile("testdata/events.txt")
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("rendered as\n%s", out.String())
	}
}

func TestHeartbeatNamesWhatRuns(t *testing.T) {
	r := newTests(&strings.Builder{})
	r.line([]byte(`{"Action":"start","Package":"a"}`))
	if got := r.running(); got != "0 packages done, testing a (0s)" {
		t.Errorf("%s", got)
	}
}

// A package with a test that fails at its first run only, one that always fails, and one that
// panics at its first run only. A file in FIRST says that a run is not the first.
const unsteady = `package p

import ("os"; "testing")

func first(t *testing.T) bool {
	path := os.Getenv("FIRST") + t.Name()
	_, err := os.Stat(path)
	if err != nil { os.WriteFile(path, nil, 0o600) }
	return err != nil
}

func TestUnsteady(t *testing.T) { if first(t) { t.Error("the first time") } }
func TestBroken(t *testing.T) { if os.Getenv("BROKEN") != "" { t.Error("always") } }
func TestPanics(t *testing.T) { if os.Getenv("PANICS") != "" && first(t) { panic("the first time") } }
`

func TestUnsteadyTestRunsAgain(t *testing.T) {
	for _, c := range []struct {
		name, allowed, broken, panics string
		passes                        bool
	}{
		{name: "excused", allowed: "1", passes: true},
		{name: "not by default"},
		{name: "one of two fails again", allowed: "2", broken: "1"},
		{name: "more than are allowed", allowed: "1", broken: "1"},
		{name: "a panic", allowed: "2", panics: "1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"go.mod": "module srtrelay/p\n\ngo 1.26\n", "p_test.go": unsteady} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			t.Chdir(dir)
			t.Setenv("FIRST", dir+"/")
			t.Setenv(rerunVariable, c.allowed)
			t.Setenv("BROKEN", c.broken)
			t.Setenv("PANICS", c.panics)
			var progress strings.Builder
			code := step("tests", []string{"go", "test", "-json", "-count=1", "-vet=off", "."}, time.Hour, io.Discard, &progress)
			if passed := code == 0; passed != c.passes || strings.Contains(progress.String(), "UNSTEADY: TestUnsteady of srtrelay/p ") != (c.passes || c.allowed == "2" && c.panics == "") {
				t.Errorf("code %d\n%s", code, progress.String())
			}
		})
	}
}
