package term

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"srtrelay/api/answer"
)

// The live view needs a terminal of this size at least; 80x24 shows everything.
const smallestWidth, smallestHeight = 40, 12

// render returns the whole screen: a line for each row, none longer than the columns.
func (t *top) render() string {
	if t.width < smallestWidth || t.height < smallestHeight {
		return ansi.Truncate(fmt.Sprintf("needs %dx%d", smallestWidth, smallestHeight), max(t.width, 0), "")
	}
	head := t.header()
	if t.help {
		head = head[:1]
	}
	room := t.height - len(head) - 1
	var body []string
	switch {
	case t.help:
		body = helpLines
	case t.screen == streamScreen:
		body = t.streamList(room)
	case t.screen == detailScreen:
		body = t.streamDetail(room)
	case t.screen == sessionScreen:
		body = t.sessionDetail(room)
	}
	lines := append(head, fill(body, room)...)
	lines = append(lines, t.footer())
	for i, line := range lines {
		lines[i] = ansi.Truncate(line, t.width, "…")
	}
	return strings.Join(lines, "\n")
}

// fill cuts or extends lines to room lines.
func fill(lines []string, room int) []string {
	lines = append([]string(nil), lines[:min(len(lines), room)]...)
	for len(lines) < room {
		lines = append(lines, "")
	}
	return lines
}

func (t *top) header() []string {
	version := t.view.version
	if version != "" {
		version = " " + version
	}
	left := bold.Render("srtrelay"+answer.Printable(version)) + " at " + t.client.API()
	state, how := t.connection.describe(t.now)
	switch {
	case t.paused && state == "":
		state, how = "paused", severityWarning
	case state == "" && t.view.at.IsZero():
		state = "asking"
	case state == "":
		state = "live " + t.view.at.Local().Format(time.TimeOnly)
	}
	right := severityStyles[how].Render(state)
	if how == severityNone {
		right = good.Render(state)
	}
	first := left + blanks(t.width-ansi.StringWidth(left)-ansi.StringWidth(right)) + right
	if ansi.StringWidth(left)+ansi.StringWidth(right)+1 > t.width {
		first = right // the state matters more than the address
	}
	lines := append([]string{first, t.totals(), t.shardStrip()}, t.overloadLines()...)
	if t.screen != streamScreen {
		return lines // streams and sessions need the rows
	}
	return append(lines, t.backendLines()...)
}

// totals returns the totals of the relay in one line.
func (t *top) totals() string {
	f, n, v := t.figures, t.view.shards.Total, t.speed
	parts := []string{"sessions " + bold.Render(f.count(n.Sessions)) + fmt.Sprintf(" (+%d half-open)", n.HalfOpen)}
	number := func(name string, value float64, text string, bad bool) {
		style := bold
		if !v.known {
			text = unknown
		} else if bad && value > 0 {
			style = severityStyles[severityWarning]
		}
		parts = append(parts, name+" "+style.Render(text))
	}
	number("in", v.bits, f.bitrate(v.bits), false)
	number("packets/s", v.packets, f.rate(v.packets), false)
	number("drops/s", v.drops+v.send, f.rate(v.drops+v.send), true)
	number("kernel/s", v.kernel, f.rate(v.kernel), true)
	return strings.Join(parts, "  ")
}

// shardStrip returns a bar per shard: its packets per second relative to the busiest.
func (t *top) shardStrip() string {
	shards := t.view.shards.Shards
	line := fmt.Sprintf("shards %d", len(shards))
	if len(t.speed.shardPackets) != len(shards) {
		return line
	}
	busiest, idle := slices.Max(append([]float64{0}, t.speed.shardPackets...)), 0
	var strip, labelled strings.Builder
	for i, v := range t.speed.shardPackets {
		bar := barOf(v, busiest)
		if v <= 0 {
			idle++
		}
		strip.WriteString(bar)
		fmt.Fprintf(&labelled, "%d:%s%s ", i, bar, t.figures.rate(v))
	}
	sum := fmt.Sprintf(" busiest %s packets/s, %d idle", t.figures.rate(busiest), idle)
	cells := labelled.String()
	if len(line)+ansi.StringWidth(cells+sum)+1 > t.width {
		cells = strip.String() + " " // many shards: their bars alone
	}
	return line + " " + cells + faint.Render(sum)
}

// backendLines returns the backends that fit into a quarter of the screen.
func (t *top) backendLines() []string {
	list := t.view.backends
	items := list.Backends
	most := max(t.height/4-2, 1)
	caption := fmt.Sprintf("BACKENDS %d, ALIVE %d", list.Total, list.Alive)
	if len(items) > most {
		caption += fmt.Sprintf(", %d MORE", len(items)-most)
		items = items[:most]
	}
	columns := backendColumns(t.now)
	columns[0].title = caption
	return liveGrid(t, columns, items, -1)
}

// liveGrid returns the lines of a table as wide as the screen.
func liveGrid[T any](t *top, columns []column[T], items []T, selected int) []string {
	return grid[T]{figures: t.figures, columns: columns, items: items, width: t.width, live: true, colors: true, selected: selected}.lines()
}

func (t *top) footer() string {
	if t.typing != nil {
		return bold.Render("filter: ") + *t.typing + selected.Render(" ") + faint.Render("  Enter takes it, Esc does not")
	}
	keys := "Esc back  j/k move  Enter open  x exact  p pause  ? help  q quit"
	switch {
	case t.help:
		keys = "any key goes back"
	case t.screen == streamScreen:
		keys = "b bitrate  r RTT  l loss  Enter open  / filter  p pause  ? help  q quit"
	case t.screen == sessionScreen:
		keys = "Esc back  j/k scroll  x exact  p pause  ? help  q quit"
	}
	return faint.Render(keys)
}

var helpLines = strings.Split(`KEYS
  1 or b, 2 or r, 3 or l   sort streams by bitrate, RTT or loss
  4 or s, 5 or n           sort streams by sessions or name
  arrows, j k, PgUp PgDn, g G   move
  Enter, right arrow       open the stream, then the session
  Esc, left arrow          back; takes the filter away
  /                        show only streams whose key contains a text
  x                        exact numbers, or three figures
  p, space                 pause and go on
  q, Ctrl-C                quit

NUMBERS
  IN comes from publishers, OUT goes to players.
  C- is the network between callers and the relay, B- between the relay
  and the backends; of a stream, those of its worst session. RTT and loss
  are of the last second, – is not known.`, "\n")

// streamList returns the first screen.
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
	return append(lines, liveGrid(t, t.liveStreamColumns(), all[from:to], t.cursor.at-from)...)
}

// streamDetail returns one stream: its numbers and the list of its sessions.
func (t *top) streamDetail(room int) []string {
	d := t.view.stream
	if d.Key != t.key || d.Since.IsZero() {
		d.Key = t.key
	}
	lines := Formatter{Exact: t.figures.exact, Now: t.now}.streamFacts(d)
	if t.view.gone {
		lines = append(lines, severityStyles[severityWarning].Render("the stream has ended, these are its last numbers"))
	}
	lines = append(lines, "")
	from, to := t.cursor.window(room-len(lines)-1, len(d.SessionList))
	return append(lines, liveGrid(t, sessionColumns(nil), d.SessionList[from:to], t.cursor.at-from)...)
}

// sessionText returns one session in full, with all lines.
func (t *top) sessionText() []string {
	lines := Formatter{Exact: t.figures.exact, Now: t.now}.sessionLines(t.view.session)
	if t.view.gone {
		lines = append([]string{severityStyles[severityWarning].Render("the session has ended, these are its last numbers")}, lines...)
	}
	return lines
}

// sessionDetail returns the part of sessionText that fits. The cursor is the first line.
func (t *top) sessionDetail(room int) []string {
	lines := t.sessionText()
	from := max(min(t.cursor.at, len(lines)-room), 0)
	return lines[from:]
}

// scroll moves a session's text by a number of lines, within its bounds.
func (t *top) scroll(by int) {
	end := len(t.sessionText()) - (t.height - len(t.header()) - 1)
	t.cursor.at = max(min(t.cursor.at+by, end), 0)
}
