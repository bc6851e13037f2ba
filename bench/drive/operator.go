//go:build linux

package drive

import (
	"fmt"
	"io"
	"time"

	"srtrelay/bench/tally"
)

// operator gives the commands of a run that an operator started.
type operator struct {
	out, progress io.Writer
	duration      time.Duration // of the measured window, 0 for until interrupted
	stateSince    int64         // when the present state began
	shown         int64         // when progress was shown last
	last          tally.Report
	finished      bool
}

func (o *operator) ready(now int64) { o.stateSince, o.shown = now, now }

// next returns the command that is due, "" for none.
func (o *operator) next(now int64, state string) Command {
	since := time.Duration(now - o.stateSince)
	var command Command
	switch {
	case state == "ready":
		command = Start
	case state == "started" && since >= warmUp:
		command = Mark
	case state == "marked" && o.duration > 0 && since >= o.duration:
		command = Stop
	case state == "stopped":
		command = Quit
	default:
		return ""
	}
	o.stateSince = now
	return command
}

// showProgress shows progress once a second.
func (o *operator) showProgress(now int64, a Actor) error {
	passed := now - o.shown
	if passed < int64(time.Second) {
		return nil
	}
	r, err := a.Report()
	if err != nil {
		return err
	}
	rate := func(n, before uint64) float64 { return float64(n-before) / (float64(passed) / 1e9) }
	fmt.Fprintf(o.progress, "%s: %d sessions, data sent %.0f/s, received %.0f/s, lost %d, late %d, p99 %.0f us\n",
		r.Role, r.Sessions, rate(r.Sent.Data, o.last.Sent.Data), rate(r.Received.Data, o.last.Received.Data),
		r.Lost, r.Late, r.Latency.P99)
	o.shown, o.last = now, r
	return nil
}

// finish prints the summary once the traffic has stopped.
func (o *operator) finish(r tally.Report) error {
	if r.State != "stopped" || o.finished {
		return nil
	}
	o.finished = true
	if err := r.Summary(o.out); err != nil {
		return fmt.Errorf("print summary: %w", err)
	}
	return nil
}
