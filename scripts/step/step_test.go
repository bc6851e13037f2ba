package main

import (
	"os"
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
