package report

import (
	"bytes"
	"fmt"
	"strings"
)

// intro says what the figures mean, in Markdown and HTML.
const intro = "CPU per packet is what the whole machine was busy (load, sinks, peer and kernel), less what it is when idle, " +
	"divided by the datagrams that arrived: data and control, both ways. Added is the same less the direct path's of the " +
	"same round. Load, peer and sinks alone are what their processes used, which says more on a busy machine. " +
	"Figures are medians of the rounds, with the lowest and the highest."

// Markdown renders the report as tables.
func Markdown(d Document) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What a relayed packet costs\n\n%s\n", intro)
	writeTable(&b, verdicts(d))
	for _, t := range tables(d) {
		writeTable(&b, t)
		writeNotes(&b, d, t.scenario)
	}
	if left := leftNotes(d); len(left) > 0 {
		fmt.Fprint(&b, "\n## Notes\n\n")
		for _, n := range left {
			fmt.Fprintf(&b, "- %s: %s\n", n.Scenario, n.Text)
		}
	}
	writeTable(&b, facts(d))
	fmt.Fprint(&b, "\n## Peers\n")
	for _, p := range d.Peers {
		if p.Config == "" {
			fmt.Fprintf(&b, "\n### %s\n\nNothing in between.\n", p.Name)
			continue
		}
		fmt.Fprintf(&b, "\n### %s\n\n```\n%s\n```\n", p.Name, strings.TrimSpace(p.Config))
	}
	return b.Bytes()
}

func writeTable(b *bytes.Buffer, t table) {
	if len(t.rows) == 0 {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n", t.title)
	row := func(cells []string) {
		b.WriteByte('|')
		for _, c := range cells {
			fmt.Fprintf(b, " %s |", strings.NewReplacer("|", `\|`, "\n", " ").Replace(c))
		}
		b.WriteByte('\n')
	}
	row(t.head)
	b.WriteString(strings.Repeat("|---", len(t.head)) + "|\n")
	for _, r := range t.rows {
		row(r)
	}
}

func writeNotes(b *bytes.Buffer, d Document, scenario string) {
	first := true
	for _, n := range d.Notes {
		if n.Scenario != scenario {
			continue
		}
		if first {
			b.WriteByte('\n')
			first = false
		}
		fmt.Fprintf(b, "- %s\n", n.Text)
	}
}

// leftNotes are those of scenarios that have no table.
func leftNotes(d Document) []Note {
	shown := map[string]bool{}
	for _, t := range tables(d) {
		shown[t.scenario] = true
	}
	var left []Note
	for _, n := range d.Notes {
		if !shown[n.Scenario] {
			left = append(left, n)
		}
	}
	return left
}
