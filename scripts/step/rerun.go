package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
)

// rerunVariable is how many tests of a step may fail and run once more, each by itself. CI
// sets it: of some thousand tests of real processes on two busy CPUs one that is unsteady
// shall be named, and not hide what the steps after it have to say. Everywhere else it is
// unset, and a test that fails has failed.
const rerunVariable = "STEP_RERUN"

func rerunsAllowed() int {
	n, _ := strconv.Atoi(os.Getenv(rerunVariable))
	return n
}

// never are what no second run excuses: they are defects whether or not they show again.
var never = []string{"DATA RACE", "race detected", "panic: ", "fatal error: ", "leak"}

// failures returns the top-level tests that failed, sorted; nil if no second run may excuse
// them: there are more than most, or what failed was no test, or one failed in a way of never.
func (t *tests) failures(most int) []testName {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inexcusable || len(t.failed) == 0 || len(t.failed) > most {
		return nil
	}
	return slices.SortedFunc(slices.Values(t.failed), func(a, b testName) int {
		return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(a.test, b.test))
	})
}

// rerun runs tests that failed in a `go test` once more, one after the other, and reports
// whether all passed. It names them either way.
func rerun(command []string, failed []testName, progress io.Writer) (passed bool) {
	passed = true
	for _, n := range failed {
		fmt.Fprintf(progress, "== again, by itself: %s of %s\n", n.test, n.pkg)
		if run(only(command, n), &lines{each: newTests(progress).line}) != nil {
			fmt.Fprintf(progress, "   %s failed again\n", n.test)
			passed = false
			continue
		}
		fmt.Fprintf(progress, "   UNSTEADY: %s of %s failed, and passed by itself. Mend the test, or what it found.\n", n.test, n.pkg)
	}
	return passed
}

// only is a `go test` command for one of its tests only.
func only(command []string, n testName) []string {
	end := len(command)
	for end > 0 && isPackage(command[end-1]) {
		end--
	}
	return append(slices.Clone(command[:end]), "-run", "^"+n.test+"$", n.pkg)
}

func isPackage(argument string) bool {
	return argument == "." || strings.HasPrefix(argument, "./") || argument == "srtrelay" || strings.HasPrefix(argument, "srtrelay/")
}
