package supervise

import (
	"bytes"
	"context"
	"log/slog"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newTest() (*Supervisor, *bytes.Buffer) {
	var out bytes.Buffer
	return New(slog.New(slog.NewTextHandler(&out, nil))), &out
}

func writeTo(m map[string]int) { m["x"] = 1 }

func TestProtect(t *testing.T) {
	s, out := newTest()
	if err := s.Protect("quiet", func() {}); err != nil || out.Len() > 0 {
		t.Errorf("%v, log %s", err, out)
	}
	err := s.Protect("loud", func() { writeTo(nil) })
	if err == nil || !strings.Contains(err.Error(), "loud panicked: assignment to entry in nil map") {
		t.Errorf("error %v", err)
	}
	for _, want := range []string{"level=ERROR", "panic recovered", "task=loud", "nil map", "TestProtect", "supervise_test.go"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in the log:\n%s", want, out)
		}
	}
	if got, want := s.Counts(), []Count{{"loud", 1}, {"quiet", 0}}; !reflect.DeepEqual(got, want) {
		t.Errorf("counts %v, want %v", got, want)
	}
}

// Whatever a task panics with, and however often, a line and the log stay
// bounded.
func TestLinesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, out := newTest()
		huge := strings.Repeat("x", 16<<10)
		for range 1000 {
			_ = s.Protect("flood", func() { panic(huge) })
		}
		if n := strings.Count(out.String(), "panic recovered"); n != 1 {
			t.Errorf("%d lines", n)
		}
		time.Sleep(lineEvery)
		_ = s.Protect("flood", func() { panic(huge) })
		if !strings.Contains(out.String(), "more_before=999") {
			t.Error("those without a line are not counted")
		}
		if out.Len() > 2*(maxStack*2+maxValue+1000) { // a stack's line breaks and tabs are escaped
			t.Errorf("%d bytes for two lines", out.Len())
		}
		if got := s.Counts(); got[0].Panics != 1001 {
			t.Errorf("%v", got)
		}
	})
}

// A loop starts again, later each time; one that ran for long, soon again.
func TestLoopStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTest()
		ctx, cancel := context.WithCancel(t.Context())
		tasks := s.Tasks()
		began := time.Now()
		var starts []time.Duration
		tasks.Loop(ctx, "loop", func(ctx context.Context) {
			starts = append(starts, time.Since(began))
			if len(starts) == 3 {
				time.Sleep(steady)
			}
			if len(starts) < 6 {
				panic("again")
			}
			<-ctx.Done()
		})
		time.Sleep(2 * steady)
		cancel()
		tasks.Wait()
		ms := time.Millisecond
		want := []time.Duration{
			0, 100 * ms, 300 * ms, // then it ran for long
			300*ms + steady + 100*ms, 300*ms + steady + 300*ms, 300*ms + steady + 700*ms,
		}
		if !reflect.DeepEqual(starts, want) {
			t.Errorf("starts %v, want %v", starts, want)
		}
	})
}

func TestLoopNeverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTest()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		tasks := s.Tasks()
		starts := 0
		tasks.Loop(ctx, "loop", func(context.Context) { starts++; panic("always") })
		tasks.Wait()
		if least := int(time.Hour / maxRetry); starts < least || starts > least+10 {
			t.Errorf("%d starts in an hour", starts)
		}
	})
}

// A supervisor that starts loops again must not keep a process from ending.
func TestLoopEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newTest()
		ctx, cancel := context.WithCancel(t.Context())
		began := time.Now()
		tasks := s.Tasks()
		var last []string
		// One that waits to start again does its last work at once.
		tasks.Loop(ctx, "waits", func(ctx context.Context) {
			if ctx.Err() == nil {
				panic("boom")
			}
			last = append(last, "done")
		})
		// One that panics as it ends, has ended.
		tasks.Loop(ctx, "ends", func(ctx context.Context) { <-ctx.Done(); panic("late") })
		synctest.Wait()
		cancel()
		tasks.Wait()
		if time.Since(began) > 0 || len(last) != 1 {
			t.Errorf("after %v, last work %v", time.Since(began), last)
		}
		if got, want := s.Counts(), []Count{{"ends", 1}, {"waits", 1}}; !reflect.DeepEqual(got, want) {
			t.Errorf("%v", got)
		}
	})
}

func TestTaskEndsAlone(t *testing.T) {
	s, out := newTest()
	tasks := s.Tasks()
	tasks.Go("once", func() { panic("boom") })
	tasks.Go("other", func() {})
	tasks.Wait()
	if !strings.Contains(out.String(), `then="the task has ended"`) {
		t.Error(out)
	}
}

func TestNobodySupervises(t *testing.T) {
	var s *Supervisor
	defer func() {
		if recover() == nil {
			t.Error("a panic was hidden")
		}
	}()
	tasks := s.Tasks()
	tasks.Go("task", func() {})
	tasks.Loop(t.Context(), "loop", func(context.Context) {})
	tasks.Wait()
	if len(s.Counts()) > 0 {
		t.Error("counts of nobody")
	}
	_ = s.Protect("task", func() { panic("boom") })
}
