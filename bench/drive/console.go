//go:build linux

package drive

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/tally"
)

// Command is one line of the input, which is answered by one line of JSON, a
// tally.Report.
type Command string

// The commands.
const (
	// Start begins the traffic.
	Start Command = "start"
	// Mark begins the measured window.
	Mark Command = "mark"
	// Look asks for the report so far.
	Look Command = "look"
	// Stop ends the traffic and waits until nothing arrives any more.
	Stop Command = "stop"
	// Quit ends the program.
	Quit Command = "quit"
)

const (
	// quietFor is how long nothing must arrive after Stop before it is answered.
	quietFor = int64(300 * time.Millisecond)
	// drainFor is after how long it is answered in any case.
	drainFor = int64(5 * time.Second)
	// warmUp is how long an operator's run goes before the measured window.
	warmUp = time.Second
)

// Actor is what a Console drives: the load or the sinks. All calls come from its loop.
type Actor interface {
	Start(now int64) error
	Mark(now int64)
	Stop(now int64)
	// Arrivals counts the datagrams of the traffic.
	Arrivals() uint64
	Report() (tally.Report, error)
}

// Console reads commands and answers them. Only the Actor's loop uses it, except for one
// goroutine that reads the input.
type Console struct {
	commands   chan Command
	out        *json.Encoder
	operator   *operator // nil if a program gives the commands
	state      string
	draining   bool
	arrivals   uint64
	quietSince int64
	stoppedAt  int64
	ended      <-chan struct{}
}

// Open returns a console for an input and an output. If the input is a terminal, or there
// is a duration, an operator started the run: then it drives itself, shows progress and
// writes a summary instead of JSON.
func Open(ctx context.Context, in io.Reader, out io.Writer, duration time.Duration) *Console {
	c := &Console{commands: make(chan Command, 8), out: json.NewEncoder(out), state: "ready", ended: ctx.Done()}
	if duration > 0 || isTerminal(in) {
		c.operator = &operator{out: out, progress: os.Stderr, duration: duration}
		return c
	}
	go c.read(ctx, in)
	return c
}

func isTerminal(in io.Reader) bool {
	f, ok := in.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// read passes commands on until the input ends, which means Quit.
func (c *Console) read(ctx context.Context, in io.Reader) {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := Command(strings.TrimSpace(lines.Text()))
		if line == "" {
			continue
		}
		select {
		case c.commands <- line:
		case <-ctx.Done():
			return
		}
	}
	select {
	case c.commands <- Quit:
	case <-ctx.Done():
	}
}

// SelfDriven reports whether the run drives itself, for an operator.
func (c *Console) SelfDriven() bool { return c.operator != nil }

// Ready says that the Actor can be started.
func (c *Console) Ready(now int64, a Actor) error {
	if c.operator != nil {
		c.operator.ready(now)
	}
	return c.answer(a)
}

// Turn executes the command that has come, if any. done means that the loop must end.
func (c *Console) Turn(now int64, a Actor) (done bool, err error) {
	if c.draining {
		return c.drain(now, a)
	}
	select {
	case command := <-c.commands:
		return c.execute(command, now, a)
	case <-c.ended:
		if c.operator == nil || c.state == "ready" || c.state == "stopped" {
			return true, nil
		}
		return c.execute(Stop, now, a)
	default:
	}
	if c.operator == nil {
		return false, nil
	}
	command := c.operator.next(now, c.state)
	if command == "" {
		return false, c.operator.showProgress(now, a)
	}
	return c.execute(command, now, a)
}

func (c *Console) execute(command Command, now int64, a Actor) (done bool, err error) {
	switch command {
	case Start:
		if err := a.Start(now); err != nil {
			return false, err
		}
		c.state = "started"
	case Mark:
		a.Mark(now)
		c.state = "marked"
	case Look:
	case Stop:
		a.Stop(now)
		c.draining, c.arrivals, c.quietSince, c.stoppedAt = true, a.Arrivals(), now, now
		return false, nil
	case Quit:
		return true, c.encode(tally.Report{State: "quit"})
	default:
		return false, c.encode(tally.Report{Error: fmt.Sprintf("command %q: not one of start, mark, look, stop, quit", string(command))})
	}
	return false, c.answer(a)
}

// drain waits until nothing arrives any more.
func (c *Console) drain(now int64, a Actor) (done bool, err error) {
	if arrivals := a.Arrivals(); arrivals != c.arrivals {
		c.arrivals, c.quietSince = arrivals, now
	}
	if now-c.quietSince < quietFor && now-c.stoppedAt < drainFor {
		return false, nil
	}
	c.draining, c.state = false, "stopped"
	return false, c.answer(a)
}

func (c *Console) answer(a Actor) error {
	r, err := a.Report()
	if err != nil {
		return err
	}
	r.State = c.state
	return c.encode(r)
}

func (c *Console) encode(r tally.Report) error {
	if c.operator != nil {
		return c.operator.finish(r)
	}
	if err := c.out.Encode(r); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
