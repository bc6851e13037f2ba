package report

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"strings"
)

//go:embed *.html
var pages embed.FS

// templates are page.html and timeline.html, and parts.html, which they share.
var templates = template.Must(template.ParseFS(pages, "*.html"))

// htmlTable is a table with its notes.
type htmlTable struct {
	Title string
	Head  []string
	Rows  [][]string
	Notes []string
}

type htmlPanel struct {
	Title  string
	Charts []template.HTML
}

// HTML renders the report as one page without other files.
func HTML(d Document) ([]byte, error) {
	view := struct {
		Intro    string
		Subtitle string
		Palette  [colours]struct{}
		Verdicts htmlTable
		Panels   []htmlPanel
		Tables   []htmlTable
		Notes    []Note
		Facts    htmlTable
		Peers    []Peer
	}{
		Intro:    intro,
		Subtitle: fmt.Sprintf("%s, commit %s, %s", d.Started.Format("2006-01-02"), d.Machine.Commit, d.Machine.CPU),
		Verdicts: asHTML(d, verdicts(d)), Notes: leftNotes(d), Facts: asHTML(d, facts(d)), Peers: d.Peers,
	}
	for _, p := range panels(d) {
		h := htmlPanel{Title: p.title}
		for _, c := range p.charts {
			// The drawing has escaped its texts.
			h.Charts = append(h.Charts, template.HTML(c.render()))
		}
		view.Panels = append(view.Panels, h)
	}
	for _, t := range tables(d) {
		view.Tables = append(view.Tables, asHTML(d, t))
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page.html", view); err != nil {
		return nil, fmt.Errorf("render page: %w", err)
	}
	return b.Bytes(), nil
}

func asHTML(d Document, t table) htmlTable {
	h := htmlTable{Title: t.title, Head: t.head, Rows: t.rows}
	for _, n := range d.Notes {
		if t.scenario != "" && n.Scenario == t.scenario {
			h.Notes = append(h.Notes, n.Text)
		}
	}
	return h
}

// Class colours a verdict's first cell.
func (h htmlTable) Class(row []string) string {
	switch row[0] {
	case "PASS", "FAIL":
		return strings.ToLower(row[0])
	}
	return ""
}
