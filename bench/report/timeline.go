package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
)

// Timeline is the report of one long run: its options, its verdicts and plots over time.
type Timeline struct {
	Title, Subtitle, Intro string
	Verdicts               []Verdict
	Plots                  []Plot
	Notes                  []string
	Facts                  [][2]string // what, value
}

// Plot is lines over time.
type Plot struct {
	Title, X, Y string
	Lines       []Line
}

// Line is one of them.
type Line struct {
	Name   string
	Points [][2]float64 // x, y
}

func (p Plot) chart() chart {
	c := chart{title: p.Title, xLabel: p.X, yLabel: p.Y, dense: true}
	for i, l := range p.Lines {
		s := series{name: l.Name, colour: (i + 1) % colours}
		for _, v := range l.Points {
			s.points = append(s.points, point{v[0], v[1], v[1], v[1]})
		}
		c.series = append(c.series, s)
	}
	return c
}

func (t Timeline) verdicts() table {
	return verdicts(Document{Verdicts: t.Verdicts})
}

func (t Timeline) facts() table {
	f := table{title: "What was run", head: []string{"what", "value"}}
	for _, pair := range t.Facts {
		f.rows = append(f.rows, []string{pair[0], pair[1]})
	}
	return f
}

// Markdown renders it without the plots.
func (t Timeline) Markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\n\n%s\n\n%s\n", t.Title, t.Subtitle, t.Intro)
	writeTable(&b, t.verdicts())
	writeTable(&b, t.facts())
	if len(t.Notes) > 0 {
		fmt.Fprint(&b, "\n## Notes\n\n")
		for _, n := range t.Notes {
			fmt.Fprintf(&b, "- %s\n", n)
		}
	}
	return b.Bytes()
}

// HTML renders it as one page without other files.
func (t Timeline) HTML() ([]byte, error) {
	view := struct {
		Title, Subtitle, Intro string
		Palette                [colours]struct{}
		Verdicts, Facts        htmlTable
		Charts                 []template.HTML
		Notes                  []string
	}{
		Title: t.Title, Subtitle: t.Subtitle, Intro: t.Intro, Notes: t.Notes,
		Verdicts: asHTML(Document{}, t.verdicts()), Facts: asHTML(Document{}, t.facts()),
	}
	for _, p := range t.Plots {
		// The drawing has escaped its texts.
		view.Charts = append(view.Charts, template.HTML(p.chart().render()))
	}
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "timeline.html", view); err != nil {
		return nil, fmt.Errorf("render page: %w", err)
	}
	return b.Bytes(), nil
}

// Write writes NAME.md, NAME.html, and data as NAME.json to a directory.
func (t Timeline) Write(dir, name string, data any) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	text, err := json.MarshalIndent(data, "", "\t")
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	html, err := t.HTML()
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	for suffix, content := range map[string][]byte{".json": append(text, '\n'), ".md": t.Markdown(), ".html": html} {
		if err := os.WriteFile(filepath.Join(dir, name+suffix), content, 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
	}
	return nil
}
