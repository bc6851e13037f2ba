// Command step runs one step of a make target and says at least every half
// minute that it still runs: compiling and testing are silent for longer than a
// person waits.
//
//	step NAME PROGRAM [ARGUMENT...]
//
// What the program prints goes through. The output of `go test -json` becomes a
// line per package, in the order in which they end, and the output of what
// failed.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"srtrelay/internal/clocale"
)

// heartbeat is half of the minute within which a person expects a line.
const heartbeat = 30 * time.Second

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: step NAME PROGRAM [ARGUMENT...]")
		os.Exit(2)
	}
	os.Exit(step(os.Args[1], os.Args[2:], heartbeat, os.Stdout, os.Stderr))
}

// step runs a program and returns its exit code. Output of the program alone
// goes to out, so that a script can read it; progress goes to progress.
func step(name string, command []string, every time.Duration, out, progress io.Writer) int {
	var t *tests
	if slices.Contains(command, "-json") {
		t = newTests(progress)
		out = &lines{each: t.line}
	}
	fmt.Fprintf(progress, "== %s\n", name)
	begun := time.Now()
	done := make(chan error, 1)
	go func() { done <- run(command, out) }()
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			running := "running"
			if t != nil {
				running = t.running()
			}
			fmt.Fprintf(progress, "   %s, %v: %s\n", name, time.Since(begun).Round(time.Second), running)
		case err := <-done:
			if t != nil {
				t.slowest()
				if failed := t.failures(rerunsAllowed()); failed != nil && rerun(command, failed, progress) {
					err = nil
				}
			}
			fmt.Fprintf(progress, "   %s took %v\n", name, time.Since(begun).Round(100*time.Millisecond))
			if exit, ok := errors.AsType[*exec.ExitError](err); ok {
				return max(exit.ExitCode(), 1)
			}
			if err != nil {
				fmt.Fprintln(progress, err)
				return 1
			}
			return 0
		}
	}
}

// run runs a program whose output goes to out.
func run(command []string, out io.Writer) error {
	cmd := clocale.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, out, os.Stderr
	return cmd.Run()
}

// lines calls each with every whole line that is written.
type lines struct {
	each func([]byte)
	rest []byte
}

func (l *lines) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	for {
		line, rest, found := bytes.Cut(l.rest, []byte("\n"))
		if !found {
			return len(b), nil
		}
		l.each(line)
		l.rest = rest
	}
}
