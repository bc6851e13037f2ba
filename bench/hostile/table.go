//go:build linux

package hostile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
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
	figures               []string
	losses                rig.Losses
	drops                 rig.Drops
	tried, failedConnects uint64
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

// count adds what the callers did between two counts.
func (w *row) count(before, after live.Counts) {
	w.tried = after.Connected + after.Failed - before.Connected - before.Failed
	w.failedConnects = after.Failed - before.Failed
}

// judge returns the row with the verdict on the phase.
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

// row prints the result of a phase.
func (p *progress) row(w row) {
	p.line("%s: %s: %s: %s; %d sessions and %d datagrams lost, %d sessions of faulted servers ended, %d of %d connects failed",
		w.act, w.phase, w.mark(), w.verdict, w.losses.Sessions, w.losses.Datagrams(), w.losses.Excused, w.failedConnects, w.tried)
	for _, d := range append(w.losses.Details, w.figures...) {
		p.line("    %s", d)
	}
}

// head is the table's columns.
var head = []string{
	"", "act", "phase", "sessions lost", "datagrams lost", "excused sessions", "connects failed", "dropped at relay's sockets",
	"at the generator's", "by the host", "verdict", "figures", "what was done",
}

func (w row) mark() string {
	if w.failed {
		return "FAIL"
	}
	return "PASS"
}

func (w row) cells() []string {
	return []string{
		w.mark(), w.act, w.phase, fmt.Sprint(w.losses.Sessions), fmt.Sprint(w.losses.Datagrams()), fmt.Sprint(w.losses.Excused),
		fmt.Sprintf("%d of %d", w.failedConnects, w.tried), fmt.Sprint(w.drops.Relay), fmt.Sprint(w.drops.Callers + w.drops.Servers), fmt.Sprint(w.drops.Host),
		w.verdict, strings.Join(w.figures, "; "), w.what,
	}
}

// brief leaves the figures out, which are long, and were printed with their phase.
func brief(cells []string) []string {
	i := slices.Index(head, "figures")
	return slices.Concat(cells[:i], cells[i+1:])
}

// table prints all phases.
func (p *progress) table(rows []row) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out)
	t := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join(brief(head), "\t"))
	for _, w := range rows {
		fmt.Fprintln(t, strings.Join(brief(w.cells()), "\t"))
	}
	_ = t.Flush()
}

// write writes the table to hostile.md.
func (r *run) write() error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Faults and attacks\n\n%s, seed %d, %d sessions, %d hostile datagrams, %.0f s.\n\n", r.say.begun.UTC().Format("2006-01-02 15:04 MST"),
		r.options.Seed, r.options.Sessions, r.options.Datagrams, time.Since(r.say.begun).Seconds())
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, w := range r.rows {
		fmt.Fprintf(&b, "| %s |\n", strings.ReplaceAll(strings.Join(w.cells(), " | "), "\n", " "))
	}
	if err := os.MkdirAll(r.options.Out, 0o755); err != nil {
		return fmt.Errorf("hostile: write table: %w", err)
	}
	if err := os.WriteFile(filepath.Join(r.options.Out, "hostile.md"), []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("hostile: write table: %w", err)
	}
	return nil
}
