package term

import (
	"strings"

	"github.com/charmbracelet/x/ansi"
)

// column is one column of a table of T.
type column[T any] struct {
	title string
	short string // title where space is scarce, "" for the same
	left  bool   // text; numbers stand to the right
	text  func(f figures, item T) string
	// alarm says how bad the number is, nil for a number that is never bad.
	alarm func(item T) alarm
	// room is the least width in the live view, where columns that come and go
	// with their numbers would be hard to read.
	room int
	// rank is when the column is left out for want of width: the highest goes
	// first, 0 stays.
	rank int
}

// alarm is how bad a number is.
type alarm int

const (
	calm alarm = iota
	warning
	alarming
)

// table writes items below the columns' titles, aligned.
func table[T any](f figures, columns []column[T], items []T) string {
	rows := make([][]string, 0, len(items)+1)
	titles := make([]string, 0, len(columns))
	for _, c := range columns {
		titles = append(titles, c.title)
	}
	rows = append(rows, titles)
	for _, item := range items {
		row := make([]string, 0, len(columns))
		for _, c := range columns {
			row = append(row, c.text(f, item))
		}
		rows = append(rows, row)
	}
	left := make([]bool, len(columns))
	for i, c := range columns {
		left[i] = c.left
	}
	return strings.Join(align(rows, left, 2), "\n") + "\n"
}

// align puts gap columns between cells padded to one width per column. The
// last column has no blanks behind it.
func align(rows [][]string, left []bool, gap int) []string {
	widths := make([]int, len(left))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	lines := make([]string, 0, len(rows))
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString(blanks(gap))
			}
			b.WriteString(pad(cell, widths[i], left[i]))
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
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
