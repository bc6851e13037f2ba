//go:build linux

package suite

import (
	"fmt"
	"io"
	"time"

	"srtrelay/bench/report"
)

// progress prints a line per finished run, with the time that is left.
type progress struct {
	out     io.Writer
	now     func() time.Time
	started time.Time
	total   time.Duration // as estimated for all scenarios
	done    time.Duration // estimates of the finished scenarios
	current Scenario
	begun   time.Time
	part    time.Duration // the current scenario's estimate
}

func newProgress(out io.Writer) *progress { return &progress{out: out, now: time.Now} }

func (p *progress) plan(b *Bench, chosen []Scenario) {
	p.started = p.now()
	for _, s := range chosen {
		p.total += s.estimate(b)
	}
	fmt.Fprintf(p.out, "%d scenarios, about %s; idle machine: %.3f cores busy\n", len(chosen), p.total.Round(time.Second), b.doc.Machine.Idle)
	for _, s := range chosen {
		fmt.Fprintf(p.out, "  %-11s about %-6s %s\n", s.ID, s.estimate(b).Round(time.Second), s.Title)
	}
}

// scenario ends the one before and begins another.
func (p *progress) scenario(s Scenario, estimate time.Duration) {
	p.done += p.part
	p.current, p.part, p.begun = s, estimate, p.now()
	fmt.Fprintf(p.out, "\n== %s: %s\n", s.ID, s.Title)
}

// left estimates what is still to come.
func (p *progress) left() time.Duration {
	inPart := min(p.now().Sub(p.begun), p.part)
	return max(0, p.total-p.done-inPart).Round(time.Second)
}

// run prints a finished run.
func (p *progress) run(r report.Run, of string) {
	mark := ""
	if r.Late*100 > r.Sent {
		mark = fmt.Sprintf("; LATE %d", r.Late)
	}
	fmt.Fprintf(p.out, "%-11s %-21s %-11s %6d/s %6d sessions  cost %6.3f us  lost %-6d peer %.2f load %.2f sink %.2f cores%s; left %s\n",
		r.Scenario, r.Peer, of, r.Rate, r.Sessions, r.CostMicros, r.Lost, r.PeerCores, r.LoadCores, r.SinkCores, mark, p.left())
}

func (p *progress) line(format string, args ...any) {
	fmt.Fprintf(p.out, format+"; left %s\n", append(args, p.left())...)
}

func (p *progress) verdict(v report.Verdict) { fmt.Fprintln(p.out, "  ", v) }

func (p *progress) failed(err error) { fmt.Fprintln(p.out, "   FAILED:", err) }
