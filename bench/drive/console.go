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

// Command is one line of the input.
type Command string

// The commands. Each is answered by one line of JSON, a tally.Report.
const (
	// Start begins the traffic.
	Start Command = "start"
	// Mark begins the measured window.
	Mark Command = "mark"
	// Look changes nothing; its answer is the report so far.
	Look Command = "look"
	// Stop ends the traffic and waits for what is under way.
	Stop Command = "stop"
	// Quit ends the program.
	Quit Command = "quit"
)

const (
	// quietFor is how long nothing may arrive before all counts as arrived.
	quietFor = int64(300 * time.Millisecond)
	// drainFor bounds that for a peer that never stops.
	drainFor = int64(5 * time.Second)
	// warmUp is what an operator's run leaves out of its figures.
	warmUp = time.Second
)

// Actor is what is driven: one end's loop. All calls come from that loop.
type Actor interface {
	Start(now int64) error
	Mark(now int64)
	Stop(now int64)
	// Arrivals grows with every datagram that belongs to the traffic.
	Arrivals() uint64
	Report() (tally.Report, error)
}

// Console is the end's side of the conversation. It belongs to the end's loop,
// but for a goroutine that waits for input.
type Console struct {
	commands chan Command
	out      *json.Encoder
	person   *person // nil if a program drives
	state    string
	draining bool
	heard    uint64
	quiet    int64 // since when
	stopped  int64
	ended    <-chan struct{}
}

// Open begins the conversation. A terminal as input, or a duration, means that
// an operator is to be served: the run then drives itself, and out gets a
// summary instead of JSON.
func Open(ctx context.Context, in io.Reader, out io.Writer, duration time.Duration) *Console {
	c := &Console{commands: make(chan Command, 8), out: json.NewEncoder(out), state: "ready", ended: ctx.Done()}
	if duration > 0 || isTerminal(in) {
		c.person = &person{out: out, progress: os.Stderr, duration: duration}
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

// read passes on commands until the input ends, which is as good as quit.
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

// Alone reports whether the run drives itself, for an operator.
func (c *Console) Alone() bool { return c.person != nil }

// Ready tells that the end can be started.
func (c *Console) Ready(now int64, a Actor) error {
	if c.person != nil {
		c.person.ready(now)
	}
	return c.answer(a)
}

// Turn does what was asked in the meantime; done means to end.
func (c *Console) Turn(now int64, a Actor) (done bool, err error) {
	if c.draining {
		return c.drain(now, a)
	}
	select {
	case command := <-c.commands:
		return c.obey(command, now, a)
	case <-c.ended:
		if c.person == nil || c.state == "ready" || c.state == "stopped" {
			return true, nil
		}
		return c.obey(Stop, now, a)
	default:
	}
	if c.person == nil {
		return false, nil
	}
	command := c.person.next(now, c.state)
	if command == "" {
		return false, c.person.tell(now, a)
	}
	return c.obey(command, now, a)
}

func (c *Console) obey(command Command, now int64, a Actor) (done bool, err error) {
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
		c.draining, c.heard, c.quiet, c.stopped = true, a.Arrivals(), now, now
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
	if heard := a.Arrivals(); heard != c.heard {
		c.heard, c.quiet = heard, now
	}
	if now-c.quiet < quietFor && now-c.stopped < drainFor {
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
	if c.person != nil {
		return c.person.hear(r)
	}
	if err := c.out.Encode(r); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	return nil
}
