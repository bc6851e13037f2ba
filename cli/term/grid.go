package term

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// narrowest is what the first column keeps before others are left out.
const narrowest = 20

// grid lays a table out for a screen: every line fits the width, columns of
// less use make room, and the first column takes what is left.
type grid[T any] struct {
	figures figures
	columns []column[T]
	items   []T
	width   int
	// selected is the item under the cursor, -1 for none.
	selected int
}

// lines are the titles and then one line per item.
func (g grid[T]) lines() []string {
	columns, widths, gap := g.fit()
	lines := make([]string, 0, len(g.items)+1)
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(blanks(gap))
		}
		b.WriteString(pad(ansi.Truncate(c.heading(), widths[i], ""), widths[i], c.left))
	}
	lines = append(lines, titles.Render(b.String()))
	for n, item := range g.items {
		b.Reset()
		for i, c := range columns {
			if i > 0 {
				b.WriteString(blanks(gap))
			}
			cell := pad(shorten(c.text(g.figures, item), widths[i], i == 0), widths[i], c.left)
			if c.alarm != nil && n != g.selected {
				cell = alarms[c.alarm(item)].Render(cell)
			}
			b.WriteString(cell)
		}
		line := b.String()
		if n == g.selected {
			line = selected.Render(line)
		}
		lines = append(lines, line)
	}
	return lines
}

func (c column[T]) heading() string {
	if c.short != "" {
		return c.short
	}
	return c.title
}

// shorten cuts a key at its beginning, where all keys are alike, and others at
// their end.
func shorten(text string, width int, key bool) string {
	over := ansi.StringWidth(text) - width
	switch {
	case over <= 0:
		return text
	case key:
		return ansi.TruncateLeft(text, over+1, "…")
	}
	return ansi.Truncate(text, width, "…")
}

// fit chooses the columns for the width, with two blanks between them or, if
// that saves a column, one.
func (g grid[T]) fit() (columns []column[T], widths []int, gap int) {
	columns = append(columns, g.columns...)
	for {
		widths = widths[:0]
		fixed := 0
		for i, c := range columns {
			w := max(c.room, ansi.StringWidth(c.heading()))
			for _, item := range g.items {
				w = max(w, ansi.StringWidth(c.text(g.figures, item)))
			}
			widths = append(widths, w)
			if i > 0 {
				fixed += w
			}
		}
		for gap = 2; gap >= 1; gap-- {
			rest := g.width - fixed - gap*(len(columns)-1)
			if rest >= min(widths[0], narrowest) {
				widths[0] = rest
				return columns, widths, gap
			}
		}
		last := dearest(columns)
		if last < 0 {
			widths[0] = max(g.width-fixed-(len(columns)-1), 1)
			return columns, widths, 1
		}
		columns = append(columns[:last], columns[last+1:]...)
	}
}

// dearest is the column that is left out next, -1 if all that there are stay.
func dearest[T any](columns []column[T]) int {
	found, rank := -1, 0
	for i, c := range columns {
		if c.rank > rank {
			found, rank = i, c.rank
		}
	}
	return found
}
