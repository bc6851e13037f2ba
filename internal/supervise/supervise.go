// Package supervise runs the goroutines of the control plane, so that a panic in one
// of them ends neither the process nor its streams: the package logs it with its
// stack, counts it, and restarts a loop.
//
// It does not run shards: after a panic the state of a shard cannot be trusted. It
// must not know what the tasks do.
package supervise

import (
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	// maxStack and maxValue bound the stack and the value of a panic in a log
	// line, in bytes.
	maxStack = 8 << 10
	maxValue = 1 << 10
	// lineEvery is the least time between two log lines about one task. The next
	// line has the count of the panics between.
	lineEvery = time.Second
)

// Supervisor logs and counts panics by the name of the task. Names are
// constants: each is the label of a metric. Any goroutine may call it.
//
// A nil Supervisor recovers nothing: a panic ends the process, as tests want.
type Supervisor struct {
	log *slog.Logger

	mu    sync.Mutex
	tasks map[string]*taskRecord
}

// taskRecord is the state of the tasks of one name.
type taskRecord struct {
	panics uint64
	next   time.Time // when a panic may be logged again
	held   int       // panics that were not logged
}

// New returns a Supervisor that logs to log.
func New(log *slog.Logger) *Supervisor {
	return &Supervisor{log: log, tasks: make(map[string]*taskRecord)}
}

// Count is how often the tasks of one name have panicked.
type Count struct {
	Task   string
	Panics uint64
}

// Counts returns a Count for every name that has been used, sorted by name.
func (s *Supervisor) Counts() []Count {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Count, 0, len(s.tasks))
	for _, name := range slices.Sorted(maps.Keys(s.tasks)) {
		all = append(all, Count{name, s.tasks[name].panics})
	}
	return all
}

// Protect calls fn. It returns nil, or an error that describes fn's panic.
func (s *Supervisor) Protect(name string, fn func()) error {
	return s.protect(name, "", fn)
}

// protect is Protect. The log line has then, which says what happens next, unless it
// is "".
func (s *Supervisor) protect(name, then string, fn func()) (err error) {
	if s == nil {
		fn()
		return nil
	}
	s.register(name)
	defer func() {
		if v := recover(); v != nil {
			err = s.Caught(name, then, v)
		}
	}()
	fn()
	return nil
}

// Caught logs and counts a panic that the caller has recovered in a deferred
// function; v is what recover returned. The log line has then, which says what
// happens next, unless it is "". The error describes the panic. s must not be nil.
func (s *Supervisor) Caught(name, then string, v any) error {
	// This still runs on the panicking stack, whose frames are of interest.
	stack := make([]byte, maxStack)
	stack = stack[:runtime.Stack(stack, false)]
	err := fmt.Errorf("%s panicked: %.*s", name, maxValue, fmt.Sprint(v))
	if more, due := s.count(name); due {
		args := []any{"task", name, "error", err, "more_before", more}
		if then != "" {
			args = append(args, "then", then)
		}
		s.log.Error("panic recovered", append(args, "stack", string(stack))...)
	}
	return err
}

// register makes the count of a name visible before its first panic, so that a rate
// sees the step from 0.
func (s *Supervisor) register(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of(name)
}

// of returns the record of a name. Called with mu held.
func (s *Supervisor) of(name string) *taskRecord {
	r := s.tasks[name]
	if r == nil {
		r = new(taskRecord)
		s.tasks[name] = r
	}
	return r
}

// count counts a panic. due reports whether it may be logged, and more is how many
// were not logged before.
func (s *Supervisor) count(name string) (more int, due bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.of(name)
	r.panics++
	now := time.Now()
	if now.Before(r.next) {
		r.held++
		return 0, false
	}
	more, r.held, r.next = r.held, 0, now.Add(lineEvery)
	return more, true
}
