package term

import (
	"strings"

	"charm.land/lipgloss/v2"
	"github.com/charmbracelet/x/ansi"
)

// Styles of the live view. They use the terminal's own sixteen colours, which its user can
// read. Without colours, words, bold and reverse still show everything.
var (
	bold           = lipgloss.NewStyle().Bold(true)
	faint          = lipgloss.NewStyle().Faint(true)
	titles         = lipgloss.NewStyle().Bold(true).Underline(true)
	selected       = lipgloss.NewStyle().Reverse(true)
	good           = lipgloss.NewStyle().Foreground(lipgloss.Green)
	severityStyles = map[severity]lipgloss.Style{
		severityNone:     lipgloss.NewStyle(),
		severityWarning:  lipgloss.NewStyle().Foreground(lipgloss.Yellow),
		severityCritical: lipgloss.NewStyle().Foreground(lipgloss.Red).Bold(true),
	}
)

// The table of lipgloss (charm.land/lipgloss/v2/table) was tried instead. It can
// neither leave out columns nor cut a key at its beginning, so fit and shorten
// would stay and only layOut would go; and it took fifteen times the CPU time,
// which is seconds for a list of some ten thousand streams.

// column is one column of a table of T.
type column[T any] struct {
	title string
	short string // title in the live view, "" for title
	left  bool   // aligned left, as text is; numbers are aligned right
	text  func(f figures, item T) string
	// severity rates the value; nil for a value that is never bad.
	severity func(item T) severity
	// minWidth is the least width in the live view. It keeps columns from moving with
	// their numbers.
	minWidth int
	// dropRank orders the columns that are left out if the width is short: the highest
	// first, 0 never.
	dropRank int
}

// severity rates a value.
type severity int

const (
	severityNone severity = iota
	severityWarning
	severityCritical
)

// tabulate writes items below the columns' titles, aligned.
func tabulate[T any](f figures, columns []column[T], items []T) string {
	rows := make([][]string, 1, len(items)+1)
	left := make([]bool, len(columns))
	for i, c := range columns {
		rows[0], left[i] = append(rows[0], c.title), c.left
	}
	for _, item := range items {
		row := make([]string, 0, len(columns))
		for _, c := range columns {
			row = append(row, c.text(f, item))
		}
		rows = append(rows, row)
	}
	return strings.Join(align(rows, left...), "\n") + "\n"
}

// align sets rows in columns as wide as their widest cells, two blanks apart.
// left says which columns are text. No line ends with blanks.
func align(rows [][]string, left ...bool) []string {
	widths := make([]int, len(left))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	lines := layOut(rows, widths, left, 2)
	for i, line := range lines {
		lines[i] = strings.TrimRight(line, " ")
	}
	return lines
}

// layOut pads the cells of each row and joins them to a line, gap blanks apart.
func layOut(rows [][]string, widths []int, left []bool, gap int) []string {
	lines := make([]string, 0, len(rows))
	var b strings.Builder
	for _, row := range rows {
		b.Reset()
		for i, cell := range row {
			if i > 0 {
				b.WriteString(blanks(gap))
			}
			b.WriteString(pad(cell, widths[i], left[i]))
		}
		lines = append(lines, b.String())
	}
	return lines
}

func pad(cell string, width int, left bool) string {
	fill := blanks(width - ansi.StringWidth(cell))
	if left {
		return cell + fill
	}
	return fill + cell
}

func blanks(n int) string { return strings.Repeat(" ", max(n, 0)) }

// minFirstColumn is the least width of the first column; other columns are left out first.
const minFirstColumn = 20

// grid is a table for a screen: every line fits the width, the least useful
// columns are left out, and the first column takes the rest of the width.
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
	rows := make([][]string, 1, len(g.items)+1)
	left := make([]bool, len(columns))
	for i, c := range columns {
		rows[0], left[i] = append(rows[0], ansi.Truncate(c.heading(), widths[i], "")), c.left
	}
	for n, item := range g.items {
		row := make([]string, 0, len(columns))
		for i, c := range columns {
			cell := shorten(c.text(g.figures, item), widths[i], i == 0)
			if c.severity != nil && n != g.selected {
				cell = severityStyles[c.severity(item)].Render(cell)
			}
			row = append(row, cell)
		}
		rows = append(rows, row)
	}
	lines := layOut(rows, widths, left, gap)
	lines[0] = titles.Render(lines[0])
	if at := g.selected + 1; at > 0 && at < len(lines) {
		lines[at] = selected.Render(lines[at])
	}
	return lines
}

func (c column[T]) heading() string {
	if c.short != "" {
		return c.short
	}
	return c.title
}

// shorten cuts a key at its beginning, where keys are alike, and other text at its end.
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

// fit chooses the columns for the width, two blanks apart or, if that saves a column, one.
func (g grid[T]) fit() (columns []column[T], widths []int, gap int) {
	columns = append(columns, g.columns...)
	for {
		widths = widths[:0]
		fixed := 0
		for i, c := range columns {
			w := max(c.minWidth, ansi.StringWidth(c.heading()))
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
			if rest >= min(widths[0], minFirstColumn) {
				widths[0] = rest
				return columns, widths, gap
			}
		}
		last := leastUseful(columns)
		if last < 0 {
			widths[0] = max(g.width-fixed-(len(columns)-1), 1)
			return columns, widths, 1
		}
		columns = append(columns[:last], columns[last+1:]...)
	}
}

// leastUseful returns the column to leave out next, -1 if there is none.
func leastUseful[T any](columns []column[T]) int {
	found, rank := -1, 0
	for i, c := range columns {
		if c.dropRank > rank {
			found, rank = i, c.dropRank
		}
	}
	return found
}
