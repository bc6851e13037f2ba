package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Of the tests that took longest, so many are named at the end.
	slowestShown = 10
	// A heartbeat names no more packages than fit into a line.
	runningShown = 4
)

// event is a line of `go test -json`, as go doc test2json describes it.
type event struct {
	Action, Package, Test, Output string
	ImportPath                    string // of build events
	Elapsed                       float64
}

// testName is a test; of a package itself the test is "".
type testName struct{ pkg, test string }

// tests renders the events of a `go test -json`. Its methods may be called by
// several goroutines.
type tests struct {
	mu      sync.Mutex
	out     io.Writer
	begun   map[string]time.Time  // packages whose tests run
	output  map[testName][]string // of what has not ended
	elapsed map[testName]float64  // of top-level tests, in seconds
	done    int                   // packages
	failed  []testName            // top-level tests
	// inexcusable says that something failed that no second run excuses.
	inexcusable bool
}

func newTests(out io.Writer) *tests {
	return &tests{out: out, begun: map[string]time.Time{}, output: map[testName][]string{}, elapsed: map[testName]float64{}}
}

// line renders one line of output.
func (t *tests) line(b []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var e event
	if err := json.Unmarshal(b, &e); err != nil {
		fmt.Fprintf(t.out, "%s\n", b)
		return
	}
	name := testName{e.Package, e.Test}
	switch e.Action {
	case "start":
		t.begun[e.Package] = time.Now()
	case "build-output":
		fmt.Fprint(t.out, e.Output)
	case "output":
		if !framing(e) {
			t.output[name] = append(t.output[name], e.Output)
		}
	case "pass", "fail", "skip":
		t.ended(name, e)
	}
}

// framing reports whether an output is one that the lines rendered here stand
// for.
func framing(e event) bool {
	return strings.HasPrefix(e.Output, "=== ") || e.Test == "" && (strings.HasPrefix(e.Output, "FAIL") || strings.HasPrefix(e.Output, "ok  \t"))
}

// ended renders the end of a test or of a package.
func (t *tests) ended(name testName, e event) {
	if name.test != "" {
		top := !strings.Contains(name.test, "/")
		if e.Action == "fail" {
			t.show(name)
			if top {
				t.failed = append(t.failed, name)
			}
		}
		delete(t.output, name)
		if top {
			t.elapsed[name] = e.Elapsed
		}
		return
	}
	if e.Action == "fail" {
		if !slices.ContainsFunc(t.failed, func(n testName) bool { return n.pkg == name.pkg }) {
			t.inexcusable = true // it was not built, or its TestMain fails
		}
		// A test that a crash or a timeout cut short has not ended.
		for _, n := range slices.SortedFunc(maps.Keys(t.output), func(a, b testName) int { return cmp.Compare(a.test, b.test) }) {
			if n.pkg == name.pkg {
				t.show(n)
			}
		}
	}
	maps.DeleteFunc(t.output, func(n testName, _ []string) bool { return n.pkg == name.pkg })
	delete(t.begun, name.pkg)
	t.done++
	if e.Action != "skip" { // it has no tests
		fmt.Fprintf(t.out, "%-4s\t%s\t%.3fs\n", map[string]string{"pass": "ok", "fail": "FAIL"}[e.Action], name.pkg, e.Elapsed) // as go test does
	}
}

// show prints the output of what failed.
func (t *tests) show(n testName) {
	for _, line := range t.output[n] {
		fmt.Fprint(t.out, line)
		t.inexcusable = t.inexcusable || slices.ContainsFunc(never, func(text string) bool { return strings.Contains(line, text) })
	}
}

// running says what a heartbeat says: how many packages are done and which are
// being tested.
func (t *tests) running() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.begun) == 0 {
		return fmt.Sprintf("%d packages done, compiling", t.done)
	}
	oldest := slices.SortedFunc(maps.Keys(t.begun), func(a, b string) int { return t.begun[a].Compare(t.begun[b]) })
	var names []string
	for _, pkg := range oldest[:min(len(oldest), runningShown)] {
		names = append(names, fmt.Sprintf("%s (%v)", pkg, time.Since(t.begun[pkg]).Round(time.Second)))
	}
	return fmt.Sprintf("%d packages done, testing %s", t.done, strings.Join(names, ", "))
}

// slowest names the tests that took longest.
func (t *tests) slowest() {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.SortedFunc(maps.Keys(t.elapsed), func(a, b testName) int {
		return cmp.Or(cmp.Compare(t.elapsed[b], t.elapsed[a]), cmp.Compare(a.test, b.test))
	})
	if len(names) > 0 {
		fmt.Fprintln(t.out, "   slowest tests:")
	}
	for _, n := range names[:min(len(names), slowestShown)] {
		fmt.Fprintf(t.out, "   %6.1f s  %s %s\n", t.elapsed[n], n.pkg, n.test)
	}
}
