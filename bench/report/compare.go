package report

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// compared is a figure by which two reports are compared.
type compared struct {
	name   string
	digits int
	of     func(group) Spread
}

var comparedFigures = []compared{
	{"CPU, us/packet", 2, func(g group) Spread { return g.positive(cost) }},
	{"added, us/packet", 2, group.added},
	{"data/s", 0, func(g group) Spread {
		return Over(g.runs, func(r Run) bool { return r.Found }, rate)
	}},
	{"lost", 0, func(g group) Spread { return g.positive(func(r Run) float64 { return float64(r.Lost) }) }},
	{"latency p50, us", 0, func(g group) Spread { return g.latency(p50) }},
	{"latency p99, us", 0, func(g group) Spread { return g.latency(p99) }},
	{"handshakes/s", 0, func(g group) Spread { return g.positive(func(r Run) float64 { return r.PerSecond }) }},
	{"bytes/session", 0, func(g group) Spread {
		return Over(g.runs, func(r Run) bool { return r.Memory != nil }, func(r Run) float64 { return r.Memory.PerSession })
	}},
}

// positive leaves out runs that have no such figure.
func (g group) positive(figure func(Run) float64) Spread {
	return Over(g.runs, func(r Run) bool { return figure(r) > 0 }, figure)
}

// Compare sets the medians of two reports side by side, with the ratio of the
// second to the first. Rows that only one of them has are left out.
func Compare(a, b Document) []byte {
	t := table{title: "Comparison", head: []string{"scenario", "peer", "data/s", "sessions", "shards", "figure", "A", "B", "B/A"}}
	for _, scenario := range scenariosOf(a) {
		others := groups(b, scenario)
		for _, g := range groups(a, scenario) {
			i := slices.IndexFunc(others, func(o group) bool {
				return o.peer == g.peer && o.rate == g.rate && o.sessions == g.sessions && o.shards == g.shards
			})
			if i < 0 {
				continue
			}
			for _, f := range comparedFigures {
				x, y := f.of(g), f.of(others[i])
				if x.N == 0 || y.N == 0 {
					continue
				}
				ratio := "-"
				if x.Median > 0 {
					ratio = fmt.Sprintf("%.3f", y.Median/x.Median)
				}
				t.rows = append(t.rows, []string{
					scenario, g.peer, thousands(g.rate), thousands(g.sessions), fmt.Sprint(g.shards), f.name, x.text(f.digits), y.text(f.digits), ratio,
				})
			}
		}
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "A: %s, commit %s, %s\nB: %s, commit %s, %s\n",
		a.Started.Format("2006-01-02 15:04"), a.Machine.Commit, a.Machine.CPU, b.Started.Format("2006-01-02 15:04"), b.Machine.Commit, b.Machine.CPU)
	if len(t.rows) == 0 {
		out.WriteString("\nThe reports have no run in common.\n")
	}
	writeAligned(&out, t)
	return out.Bytes()
}

func scenariosOf(d Document) []string {
	var ids []string
	for _, r := range d.Runs {
		if !slices.Contains(ids, r.Scenario) {
			ids = append(ids, r.Scenario)
		}
	}
	return ids
}

// writeAligned pads the columns, for a terminal; it is Markdown all the same.
func writeAligned(b *bytes.Buffer, t table) {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, c := range row {
			width[i] = max(width[i], len(c))
		}
	}
	padded := table{title: t.title}
	pad := func(row []string) []string {
		var cells []string
		for i, c := range row {
			cells = append(cells, c+strings.Repeat(" ", width[i]-len(c)))
		}
		return cells
	}
	padded.head = pad(t.head)
	for _, row := range t.rows {
		padded.rows = append(padded.rows, pad(row))
	}
	writeTable(b, padded)
}
