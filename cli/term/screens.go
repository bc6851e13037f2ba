package term

import (
	"fmt"

	"srtrelay/api/answer"
)

// streamList is the first screen.
func (t *top) streamList(room int) []string {
	all := t.view.streams.Streams
	from, to := t.cursor.window(room-2, len(all))
	caption := fmt.Sprintf("streams %s, by %s", t.figures.count(uint64(t.view.streams.Total)), t.sort)
	if to > from && (from > 0 || to < t.view.streams.Total) {
		caption = fmt.Sprintf("streams %d to %d of %s, by %s", from+1, to, t.figures.count(uint64(t.view.streams.Total)), t.sort)
	}
	if t.match != "" {
		caption += ", with " + fmt.Sprintf("%q", t.match)
	}
	if t.backend != "" {
		caption += ", on " + answer.Printable(t.backend)
	}
	if len(all) < t.view.streams.Total && len(all) == answer.MaxLimit {
		caption += fmt.Sprintf(" (the first %d)", answer.MaxLimit)
	}
	lines := []string{bold.Render(caption)}
	if len(all) == 0 {
		if t.view.at.IsZero() {
			return lines
		}
		return append(lines, faint.Render("no streams"))
	}
	return append(lines, grid[answer.Stream]{
		t.figures, streamColumns(t.now), all[from:to], t.width, t.cursor.at - from,
	}.lines()...)
}

// streamDetail is one stream: its numbers, and its sessions to choose from.
func (t *top) streamDetail(room int) []string {
	d := t.view.stream
	if d.Key != t.key || d.Since.IsZero() {
		d.Key = t.key
	}
	lines := Show{Exact: t.figures.exact, Now: t.now}.streamFacts(d)
	if t.view.gone {
		lines = append(lines, alarms[warning].Render("the stream has ended, these are its last numbers"))
	}
	lines = append(lines, "")
	from, to := t.cursor.window(room-len(lines)-1, len(d.SessionList))
	return append(lines, grid[answer.Session]{
		t.figures, sessionColumns(false), d.SessionList[from:to], t.width, t.cursor.at - from,
	}.lines()...)
}

// sessionText is one session whole, as long as it may be.
func (t *top) sessionText() []string {
	lines := Show{Exact: t.figures.exact, Now: t.now}.sessionLines(t.view.session)
	if t.view.gone {
		lines = append([]string{alarms[warning].Render("the session has ended, these are its last numbers")}, lines...)
	}
	return lines
}

// sessionDetail is the part of it that fits; the cursor is the scroll.
func (t *top) sessionDetail(room int) []string {
	lines := t.sessionText()
	from := max(min(t.cursor.at, len(lines)-room), 0)
	return lines[from:]
}

// scroll moves a session's text by so many lines, as far as it goes.
func (t *top) scroll(by int) {
	end := len(t.sessionText()) - (t.height - len(t.header()) - 1)
	t.cursor.at = max(min(t.cursor.at+by, end), 0)
}
