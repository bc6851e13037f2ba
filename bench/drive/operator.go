//go:build linux

package drive

import (
	"fmt"
	"io"
	"time"

	"srtrelay/bench/tally"
)

// person is an operator at a terminal, who gives no commands but the end of
// it all.
type person struct {
	out, progress io.Writer
	duration      time.Duration // of the measured window, 0 for until interrupted
	since         int64         // when the present state began
	told          int64         // when progress was shown last
	last          tally.Report
	finished      bool
}

func (p *person) ready(now int64) { p.since, p.told = now, now }

// next is what a program would ask for now, "" for nothing.
func (p *person) next(now int64, state string) Command {
	since := time.Duration(now - p.since)
	var command Command
	switch {
	case state == "ready":
		command = Start
	case state == "started" && since >= warmUp:
		command = Mark
	case state == "marked" && p.duration > 0 && since >= p.duration:
		command = Stop
	case state == "stopped":
		command = Quit
	default:
		return ""
	}
	p.since = now
	return command
}

// tell shows progress once a second.
func (p *person) tell(now int64, a Actor) error {
	passed := now - p.told
	if passed < int64(time.Second) {
		return nil
	}
	r, err := a.Report()
	if err != nil {
		return err
	}
	rate := func(n, before uint64) float64 { return float64(n-before) / (float64(passed) / 1e9) }
	fmt.Fprintf(p.progress, "%s: %d sessions, data sent %.0f/s, received %.0f/s, lost %d, late %d, p99 %.0f us\n",
		r.Role, r.Sessions, rate(r.Sent.Data, p.last.Sent.Data), rate(r.Received.Data, p.last.Received.Data),
		r.Lost, r.Late, r.Latency.P99)
	p.told, p.last = now, r
	return nil
}

// hear takes what a program would get as JSON.
func (p *person) hear(r tally.Report) error {
	if r.State != "stopped" || p.finished {
		return nil
	}
	p.finished = true
	if err := r.Summary(p.out); err != nil {
		return fmt.Errorf("print summary: %w", err)
	}
	return nil
}
