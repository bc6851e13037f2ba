package hostile

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"srtrelay/bench/live"
	"srtrelay/bench/rig"
)

const held = "held"

// row is one phase in the table.
type row struct {
	act, phase, what      string
	losses                rig.Losses
	drops                 rig.Drops
	tried, failedConnects uint64
	ended                 uint64 // sessions that ended otherwise than planned
	verdict               string
	failed                bool
}

func (w row) fail(why string) row {
	if w.failed {
		why = w.verdict + "; " + why
	}
	w.verdict, w.failed = why, true
	return w
}

// count takes what callers did from one look to the next.
func (w *row) count(before, after live.Counts) {
	w.tried = after.Connected + after.Failed - before.Connected - before.Failed
	w.failedConnects = after.Failed - before.Failed
}

// judge says whether a phase held.
func (w row) judge(may allow) row {
	lost := w.losses.Datagrams()
	if w.losses.Sessions > 0 {
		w = w.fail(fmt.Sprintf("%d sessions lost", w.losses.Sessions))
	}
	if w.losses.Duplicated > 0 {
		w = w.fail(fmt.Sprintf("%d datagrams twice", w.losses.Duplicated))
	}
	if may < connects && w.failedConnects > 0 {
		w = w.fail(fmt.Sprintf("%d of %d connects failed", w.failedConnects, w.tried))
	}
	switch outside := w.drops.Generator(); {
	case lost == 0 || may == datagrams:
	case lost <= outside:
		w.verdict = fmt.Sprintf("%s, but for what the generator and the host lost", held)
	default:
		w = w.fail(fmt.Sprintf("%d datagrams lost", lost))
	}
	return w
}

// progress writes lines, each with the time since the beginning.
type progress struct {
	mu    sync.Mutex
	out   io.Writer
	begun time.Time
}

func newProgress(out io.Writer) *progress { return &progress{out: out, begun: time.Now()} }

func (p *progress) line(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "%5.0f s  %s\n", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
}

// row prints what a phase has shown.
func (p *progress) row(w row) {
	mark := "PASS"
	if w.failed {
		mark = "FAIL"
	}
	p.line("%s: %s: %s: %s; %d sessions and %d datagrams lost, %d sessions of faulted servers ended, %d of %d connects failed",
		w.act, w.phase, mark, w.verdict, w.losses.Sessions, w.losses.Datagrams(), w.losses.Excused, w.failedConnects, w.tried)
	for _, d := range w.losses.Details {
		p.line("    %s", d)
	}
}

// table prints all phases.
func (p *progress) table(rows []row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out)
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	head := []string{"", "act", "phase", "sessions lost", "datagrams lost", "excused sessions", "connects failed", "dropped at relay's sockets", "generator", "host", "verdict", "what was done"}
	fmt.Fprintln(t, strings.Join(head, "\t"))
	for _, w := range rows {
		mark := "PASS"
		if w.failed {
			mark = "FAIL"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%d\t%d\t%d/%d\t%d\t%d\t%d\t%s\t%s\n", mark, w.act, w.phase, w.losses.Sessions, w.losses.Datagrams(), w.losses.Excused,
			w.failedConnects, w.tried, w.drops.Relay, w.drops.Callers+w.drops.Servers, w.drops.Host, w.verdict, w.what)
	}
	_ = t.Flush()
}
