//go:build linux

package drive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/bench/tally"
)

// actor notes what it is told.
type actor struct {
	told     []string
	arrivals uint64
	refuse   error
}

func (a *actor) Start(int64) error             { a.told = append(a.told, "start"); return a.refuse }
func (a *actor) Mark(int64)                    { a.told = append(a.told, "mark") }
func (a *actor) Stop(int64)                    { a.told = append(a.told, "stop") }
func (a *actor) Arrivals() uint64              { return a.arrivals }
func (a *actor) Report() (tally.Report, error) { return tally.Report{Role: "actor"}, nil }

// turnUntil turns the console until it has given another answer.
func turnUntil(t *testing.T, c *Console, a *actor, now *int64, answered func() bool) (done bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		var err error
		if done, err = c.Turn(*now, a); err != nil {
			t.Fatal(err)
		}
		*now += int64(time.Millisecond)
		if answered() || done {
			return done
		}
	}
	t.Fatal("no answer")
	return false
}

func TestConversation(t *testing.T) {
	in, commands := io.Pipe()
	defer commands.Close()
	var out bytes.Buffer
	c := Open(t.Context(), in, &out, 0)
	a, now := &actor{}, int64(0)
	if err := c.Ready(now, a); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(&out)
	state := func() string {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			t.Fatal(err)
		}
		var r tally.Report
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		return r.State + r.Error
	}
	if got := state(); got != "ready" {
		t.Fatalf("first line: %s", got)
	}
	for _, step := range []struct{ command, answer string }{
		{"start", "started"},
		{" mark ", "marked"},
		{"look", "marked"},
		{"dance", `command "dance": not one of start, mark, look, stop, quit`},
		{"stop", "stopped"},
		{"start", "started"},
	} {
		if _, err := io.WriteString(commands, step.command+"\n\n"); err != nil {
			t.Fatal(err)
		}
		turnUntil(t, c, a, &now, func() bool { return out.Len() > 0 })
		if got := state(); got != step.answer {
			t.Errorf("%s: %q, want %q", step.command, got, step.answer)
		}
	}
	_ = commands.Close()
	if !turnUntil(t, c, a, &now, func() bool { return false }) {
		t.Error("goes on after the end of the input")
	}
	if want := []string{"start", "mark", "stop", "start"}; !slices.Equal(a.told, want) {
		t.Errorf("told %v, want %v", a.told, want)
	}
}

// The answer to stop waits until nothing has come for a while, but not for
// ever.
func TestDrain(t *testing.T) {
	for _, tt := range []struct {
		name  string
		until time.Duration // datagrams come every 100 ms so long
		want  time.Duration
	}{
		{"quiet", 0, 300 * time.Millisecond},
		{"comes to rest", time.Second, 1300 * time.Millisecond},
		{"never ends", time.Hour, 5 * time.Second},
	} {
		var out bytes.Buffer
		c := Open(t.Context(), strings.NewReader(""), &out, 0)
		a := &actor{}
		if _, err := c.execute(Stop, 0, a); err != nil {
			t.Fatal(err)
		}
		now := int64(0)
		for ; c.draining; now += int64(100 * time.Millisecond) {
			if now > 0 && now <= int64(tt.until) {
				a.arrivals++
			}
			if _, err := c.Turn(now, a); err != nil {
				t.Fatal(err)
			}
		}
		if got := time.Duration(now) - 100*time.Millisecond; got != tt.want {
			t.Errorf("%s: drained after %v, want %v", tt.name, got, tt.want)
		}
	}
}

// An operator's run goes by itself and ends with a summary.
func TestOperatorsRun(t *testing.T) {
	var out, progress bytes.Buffer
	c := Open(t.Context(), strings.NewReader("quit\n"), &out, 2*time.Second)
	if !c.SelfDriven() {
		t.Fatal("waits for commands")
	}
	c.operator.progress = &progress
	a, now := &actor{}, int64(0)
	if err := c.Ready(now, a); err != nil {
		t.Fatal(err)
	}
	if !turnUntil(t, c, a, &now, func() bool { return false }) {
		t.Error("does not end")
	}
	if want := []string{"start", "mark", "stop"}; !slices.Equal(a.told, want) {
		t.Errorf("told %v", a.told)
	}
	if got := time.Duration(now).Round(100 * time.Millisecond); got != 3300*time.Millisecond {
		t.Errorf("took %v", got)
	}
	if n := strings.Count(progress.String(), "\n"); n < 2 || n > 4 {
		t.Errorf("progress of 3 s: %q", progress.String())
	}
	if strings.Count(out.String(), "measured for") != 1 {
		t.Errorf("summary: %q", out.String())
	}
}

// Ctrl-C ends an operator's run in good order, a driven one at once.
func TestInterrupt(t *testing.T) {
	for _, alone := range []bool{true, false} {
		ctx, cancel := context.WithCancel(t.Context())
		in, commands := io.Pipe()
		defer commands.Close()
		var out bytes.Buffer
		duration := time.Duration(0)
		if alone {
			duration = time.Hour
		}
		c := Open(ctx, in, &out, duration)
		if alone {
			c.operator.progress = io.Discard
		}
		a, now := &actor{}, int64(0)
		for range 2000 {
			now += int64(time.Millisecond)
			if _, err := c.Turn(now, a); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		turnUntil(t, c, a, &now, func() bool { return false })
		if stopped := slices.Contains(a.told, "stop"); stopped != alone {
			t.Errorf("alone %v: told %v", alone, a.told)
		}
	}
}

func TestRefusedStartEnds(t *testing.T) {
	c := Open(t.Context(), strings.NewReader(""), io.Discard, 0)
	why := errors.New("no")
	if _, err := c.execute(Start, 0, &actor{refuse: why}); !errors.Is(err, why) {
		t.Errorf("error %v", err)
	}
}
