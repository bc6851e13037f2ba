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

// column is one column of a table of T. Columns stand in the order of their importance: where
// the width is short, the last one is left out first.
type column[T any] struct {
	title string
	short string // title where the width is short, "" for title
	left  bool   // aligned left, as text is; numbers are aligned right
	text  func(f figures, item T) string
	// severity rates the value; nil for a value that is never bad.
	severity func(item T) severity
	// minWidth is the least width in the live view. It keeps columns from moving with
	// their numbers.
	minWidth int
	// leastWidth is what a name may be cut to before the column is left out; 0 for all of it.
	leastWidth int
}

// severity rates a value.
type severity int

const (
	severityNone severity = iota
	severityWarning
	severityCritical
)

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

// minLiveName is the least width of the first column, which is the name of the item, in the live
// view. Before it is cut further, other columns are left out.
const minLiveName = 20

// leastName is the same for a list, which may be copied from: three eighths of the width.
func leastName(width int) int { return width * 3 / 8 }

// grid is a table that fits a width.
type grid[T any] struct {
	figures figures
	columns []column[T]
	items   []T
	width   int // 0 for as wide as its content
	// live is true for the live view: columns have their least width, and the first takes
	// what is left of the width.
	live bool
	// colors is true where severity has colours.
	colors bool
	// selected is the item under the cursor, -1 for none.
	selected int
}

// layout is the choice of columns for a width.
type layout struct {
	widths []int // of the first columns; the others are left out
	gap    int   // blanks between columns
	short  bool  // short titles
}

// lines are the titles and then one line per item.
func (g grid[T]) lines() []string {
	rows := make([][]string, 1, len(g.items)+1)
	for _, item := range g.items {
		row := make([]string, 0, len(g.columns))
		for _, c := range g.columns {
			row = append(row, c.text(g.figures, item))
		}
		rows = append(rows, row)
	}
	l := g.fit(rows[1:])
	columns := g.columns[:len(l.widths)]
	left := make([]bool, len(columns))
	for i, c := range columns {
		rows[0], left[i] = append(rows[0], ansi.Truncate(c.heading(l.short), l.widths[i], "")), c.left
	}
	for n, item := range g.items {
		row := rows[n+1][:len(columns)]
		for i, c := range columns {
			row[i] = shorten(row[i], l.widths[i], i == 0 || c.leastWidth > 0)
			if c.severity == nil || !g.colors || n == g.selected {
				continue
			}
			if how := c.severity(item); how != severityNone {
				row[i] = severityStyles[how].Render(row[i])
			}
		}
		rows[n+1] = row
	}
	return g.styled(layOut(rows, l.widths, left, l.gap))
}

// styled sets off the titles and, in the live view, the selected line.
func (g grid[T]) styled(lines []string) []string {
	if !g.live {
		for i, line := range lines {
			lines[i] = strings.TrimRight(line, " ")
		}
		if g.colors {
			lines[0] = bold.Render(lines[0])
		}
		return lines
	}
	lines[0] = titles.Render(lines[0])
	if at := g.selected + 1; at > 0 && at < len(lines) {
		lines[at] = selected.Render(lines[at])
	}
	return lines
}

func (c column[T]) heading(short bool) string {
	if short && c.short != "" {
		return c.short
	}
	return c.title
}

// shorten cuts a name at its beginning, where names are alike, and other text at its end.
func shorten(text string, width int, name bool) string {
	over := ansi.StringWidth(text) - width
	switch {
	case over <= 0:
		return text
	case name:
		return ansi.TruncateLeft(text, over+1, "…")
	}
	return ansi.Truncate(text, width, "…")
}

// fit chooses the layout for the width: whole titles if all columns fit with them, else short
// ones, two blanks apart or, if that saves a column, one.
func (g grid[T]) fit(rows [][]string) layout {
	widest := make([]int, len(g.columns))
	for i, c := range g.columns {
		if g.live {
			widest[i] = c.minWidth
		}
		for _, row := range rows {
			widest[i] = max(widest[i], ansi.StringWidth(row[i]))
		}
	}
	whole := g.layout(widest, len(widest), layout{gap: 2})
	if g.width == 0 || g.settle(&whole) {
		return whole
	}
	for n := len(widest); n > 1; n-- {
		for gap := 2; gap >= 1; gap-- {
			if l := g.layout(widest, n, layout{gap: gap, short: true}); g.settle(&l) {
				return l
			}
		}
	}
	return layout{widths: []int{g.width}, gap: 1, short: true}
}

// layout sets the widths of the first n columns of l to what their content needs.
func (g grid[T]) layout(widest []int, n int, l layout) layout {
	for i, c := range g.columns[:n] {
		l.widths = append(l.widths, max(widest[i], ansi.StringWidth(c.heading(l.short))))
	}
	return l
}

// settle gives the first column what the others leave of the width; if that is too little, it
// cuts other names. It returns false if it is still too little.
func (g grid[T]) settle(l *layout) bool {
	rest := g.width + l.widths[0] - l.gap*(len(l.widths)-1)
	for _, w := range l.widths {
		rest -= w
	}
	least := minLiveName
	if !g.live {
		least = leastName(g.width)
	}
	least = min(l.widths[0], least)
	for i, c := range g.columns[:len(l.widths)] {
		if over := min(least-rest, l.widths[i]-c.leastWidth); over > 0 && c.leastWidth > 0 {
			l.widths[i] -= over
			rest += over
		}
	}
	if rest < least {
		return false
	}
	if !g.live {
		rest = min(rest, l.widths[0])
	}
	l.widths[0] = rest
	return true
}
