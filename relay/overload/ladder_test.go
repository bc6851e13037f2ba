package overload

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// script drives a ladder by readings over a clock of its own.
type script struct {
	Ladder
	now time.Duration
	log []string // of changes: "1.75s +telemetry sessions"
}

// hold repeats readings for a time.
func (s *script) hold(d time.Duration, r Readings) {
	for end := s.now + d; s.now < end; {
		s.now += Every
		s.update(r)
	}
}

func (s *script) update(r Readings) {
	for _, c := range s.Update(s.now, &r) {
		sign := "-"
		if c.Entered {
			sign = "+"
		}
		s.log = append(s.log, fmt.Sprintf("%v %s%s %s", s.now, sign, c.Step, c.Input))
	}
}

// changes returns the changes without their times.
func (s *script) changes() []string {
	var all []string
	for _, line := range s.log {
		_, what, _ := strings.Cut(line, " ")
		all = append(all, what)
	}
	return all
}

// of returns readings in which one input has a pressure, and all others 0.
func of(input Input, value float64) Readings {
	var r Readings
	for i := range r {
		r[i] = Reading{Known: true, Detail: "of the test"}
	}
	r[input].Pressure = value
	return r
}

func TestLadder(t *testing.T) {
	calm := of(InputSessions, 0)
	everything := []string{"+telemetry sessions", "+captures sessions", "+players sessions", "+publishers sessions"}
	for name, c := range map[string]struct {
		run  func(s *script)
		want []string
		step Step
	}{
		"calm":                {func(s *script) { s.hold(time.Minute, calm) }, nil, StepNone},
		"below":               {func(s *script) { s.hold(time.Minute, of(InputTurns, 0.79)) }, nil, StepNone},
		"at a threshold":      {func(s *script) { s.hold(time.Minute, of(InputTurns, 0.8)) }, []string{"+telemetry turns"}, StepTelemetry},
		"one spike":           {func(s *script) { s.update(of(InputDrops, 1)); s.hold(time.Minute, calm) }, nil, StepNone},
		"a spike of a second": {func(s *script) { s.hold(time.Second, of(InputDrops, 1)); s.hold(time.Minute, calm) }, nil, StepNone},
		"all at once":         {func(s *script) { s.hold(5*time.Second, of(InputSessions, 1)) }, everything, StepPublishers},
		"beyond 1":            {func(s *script) { s.hold(5*time.Second, of(InputSessions, 70)) }, everything, StepPublishers},
		"up and down": {
			func(s *script) { s.hold(5*time.Second, of(InputSessions, 1)); s.hold(time.Minute, calm) },
			append(slices.Clone(everything), "-publishers sessions", "-players sessions", "-captures sessions", "-telemetry sessions"), StepNone,
		},
		"between the thresholds of a step": {
			func(s *script) {
				s.hold(5*time.Second, of(InputMemory, 0.92))
				s.hold(time.Minute, of(InputMemory, 0.81))
			},
			[]string{"+telemetry memory", "+captures memory", "+players memory"},
			StepPlayers,
		},
		"calm for less than the hold": {
			func(s *script) {
				s.hold(5*time.Second, of(InputMemory, 0.82))
				for range 20 {
					s.hold(Hold/2, of(InputMemory, 0.6))
					s.hold(Hold/2, of(InputMemory, 0.82))
				}
			},
			[]string{"+telemetry memory"},
			StepTelemetry,
		},
		"part of the way down": {
			func(s *script) {
				s.hold(5*time.Second, of(InputSessions, 1))
				s.hold(time.Minute, of(InputSessions, 0.78))
			},
			append(slices.Clone(everything), "-publishers sessions", "-players sessions"), StepCaptures,
		},
		"another input takes over": {
			func(s *script) {
				s.hold(5*time.Second, of(InputHandshakes, 0.82))
				s.hold(5*time.Second, of(InputDrops, 0.87))
			},
			[]string{"+telemetry handshakes", "+captures drops"},
			StepCaptures,
		},
		"it cannot be read": {
			func(s *script) { s.hold(time.Minute, Readings{}) }, nil, StepNone,
		},
		"it cannot be read for a moment": {
			func(s *script) { s.hold(5*time.Second, of(InputMemory, 0.82)); s.hold(unknownAfter-Every, Readings{}) },
			[]string{"+telemetry memory"},
			StepTelemetry,
		},
		"it cannot be read any more": {
			func(s *script) { s.hold(5*time.Second, of(InputMemory, 0.82)); s.hold(time.Minute, Readings{}) },
			[]string{"+telemetry memory", "-telemetry sessions"},
			StepNone,
		},
		"the process is stopped for an hour": {
			func(s *script) {
				s.hold(5*time.Second, of(InputMemory, 0.5))
				s.now += time.Hour
				s.update(of(InputTurns, 1))
				s.hold(time.Minute, calm)
			},
			nil, StepNone,
		},
		"the clock stands still, and goes back": {
			func(s *script) {
				for range 100 {
					s.update(of(InputTurns, 1))
				}
				s.now -= time.Second
				s.update(of(InputTurns, 1))
			},
			nil, StepNone,
		},
		"taken over": {
			func(s *script) { s.Resume(StepPlayers); s.hold(time.Minute, of(InputSessions, 0.92)) }, nil, StepPlayers,
		},
		"taken over, and calm": {
			func(s *script) { s.Resume(StepCaptures); s.hold(time.Minute, calm) },
			[]string{"-captures sessions", "-telemetry sessions"},
			StepNone,
		},
		"taken over from a later version": {
			func(s *script) { s.Resume(StepPublishers + 9); s.hold(time.Minute, of(InputSessions, 1)) }, nil, StepPublishers,
		},
		"turned off": {
			func(s *script) { s.hold(5*time.Second, of(InputSessions, 1)); s.LeaveAll() }, everything, StepNone,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var s script
			c.run(&s)
			if got := s.changes(); !slices.Equal(got, c.want) {
				t.Errorf("changes %q, want %q", s.log, c.want)
			}
			if s.Step() != c.step {
				t.Errorf("at step %v, want %v", s.Step(), c.step)
			}
		})
	}
}

// The steps are left one at a time, each after a hold.
func TestLadderHolds(t *testing.T) {
	var s script
	s.hold(5*time.Second, of(InputSessions, 1))
	s.log = nil
	began := s.now
	s.hold(time.Minute, of(InputSessions, 0))
	if len(s.log) != 4 {
		t.Fatalf("changes %q", s.log)
	}
	last := began
	for _, line := range s.log {
		text, _, _ := strings.Cut(line, " ")
		at, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		if at-last < Hold || at-last > Hold+time.Second {
			t.Errorf("%s: %v after the last change", line, at-last)
		}
		last = at
	}
}

// What a change says is what an operator needs to know why.
func TestChangeSaysWhy(t *testing.T) {
	var l Ladder
	l.Resume(StepNone) // the first reading counts in full
	r := of(InputMemory, 0.83)
	r[InputMemory].Detail = "83 of 100 MiB"
	changes := l.Update(Every, &r)
	want := Change{Step: StepTelemetry, Entered: true, Input: InputMemory, Pressure: 0.83, Detail: "83 of 100 MiB"}
	if len(changes) != 1 || changes[0] != want {
		t.Errorf("%+v, want %+v", changes, want)
	}
	if value, known, detail := l.Input(InputMemory); value != 0.83 || !known || detail != want.Detail {
		t.Errorf("memory %v %v %q", value, known, detail)
	}
}

func TestNamesOfStepsAndInputs(t *testing.T) {
	for _, s := range Steps() {
		if s.String() == "" || s.Effect() == "" || s.LeaveAt() >= s.EnterAt() {
			t.Errorf("step %d: %q, %q, %v to %v", s, s, s.Effect(), s.LeaveAt(), s.EnterAt())
		}
		if s > StepTelemetry && (s.EnterAt() <= (s-1).EnterAt() || s.LeaveAt() <= (s-1).LeaveAt()) {
			t.Errorf("step %v is entered or left before the one below", s)
		}
	}
	for _, i := range Inputs() {
		if i.String() == "" || i.String() == "unknown" {
			t.Errorf("input %d has no name", i)
		}
	}
	if Step(99).String() != "unknown" || Step(99).Effect() != "" || Input(99).String() != "unknown" {
		t.Error("what does not exist has a name")
	}
}

// The table of steps in the docs is that of the code.
func TestDocumentedSteps(t *testing.T) {
	page, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range Steps() {
		if row := fmt.Sprintf("\n| `%s` | %.2f | %.2f | ", s, s.EnterAt(), s.LeaveAt()); !strings.Contains(string(page), row) {
			t.Errorf("docs/limits.md has no row %q", row)
		}
	}
	for _, i := range Inputs() {
		if row := fmt.Sprintf("\n| `%s` | ", i); !strings.Contains(string(page), row) {
			t.Errorf("docs/limits.md has no row %q", row)
		}
	}
}

// The times of docs/faults.md: from nothing to all at once, and back.
func TestLadderTimes(t *testing.T) {
	var s script
	s.hold(10*time.Second, of(InputSessions, 0))
	s.now, s.log = 0, nil
	s.at = 0
	s.hold(5*time.Second, of(InputSessions, 1))
	s.hold(20*time.Second, of(InputSessions, 0))
	want := []string{
		"1.75s +telemetry sessions", "2s +captures sessions", "2.5s +players sessions", "3s +publishers sessions",
		"7.25s -publishers sessions", "9.25s -players sessions", "11.25s -captures sessions", "13.25s -telemetry sessions",
	}
	if !slices.Equal(s.log, want) {
		t.Errorf("%q, want %q", s.log, want)
	}
}
