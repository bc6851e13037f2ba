// Package term formats the API's answers for a terminal: tables, single sessions, streams and
// backends, and the live view of srtrelay top: top.go runs it, draw.go draws its text.
//
// The numbers are the relay's own, rounded by one rule. The package uses the API through
// package client and must not know the relay behind it.
package term

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"srtrelay/api/answer"
)

// Formatter formats answers as text. With Exact, numbers are unrounded and in base units;
// otherwise they have three figures.
type Formatter struct {
	Exact bool
	// Width is what tables fit into; 0 for all columns and whole keys.
	Width int
	// Colors is true where what is not well is coloured.
	Colors bool
	Now    time.Time
}

func (s Formatter) figures() figures { return figures{s.Exact} }

// key returns how tables show a stream's key.
func (s Formatter) key() func(string) string {
	if s.Width == 0 {
		return wholeKey
	}
	return shortKey
}

// tabulate writes items below the columns' titles, aligned.
func tabulate[T any](s Formatter, columns []column[T], items []T) string {
	g := grid[T]{figures: s.figures(), columns: columns, items: items, width: s.Width, colors: s.Colors, selected: -1}
	return strings.Join(g.lines(), "\n") + "\n"
}

// Streams returns a table of streams.
func (s Formatter) Streams(list []answer.Stream) string {
	return tabulate(s, streamColumns(s.Now, s.key()), list)
}

// Sessions returns a table of sessions.
func (s Formatter) Sessions(list []answer.Session) string {
	return tabulate(s, sessionColumns(s.key()), list)
}

// Backends returns a table of backends.
func (s Formatter) Backends(list answer.BackendList) string {
	return tabulate(s, backendColumns(s.Now), list.Backends)
}

// Sources returns a table of sources.
func (s Formatter) Sources(list answer.SourceList) string {
	return tabulate(s, sourceColumns(), list.Sources)
}

// Shards returns a table of shards with their total, and all drops by reason.
func (s Formatter) Shards(list answer.ShardList) string {
	rows := make([]shardRow, 0, len(list.Shards)+1)
	for _, shard := range list.Shards {
		rows = append(rows, shardRow{strconv.Itoa(shard.Shard), shard.Numbers})
	}
	rows = append(rows, shardRow{"total", list.Total})
	text := tabulate(s, shardColumns(), rows)
	drops := slices.Concat(reasons("drop", list.Total.Drops), reasons("send drop", list.Total.SendDrops))
	if len(drops) == 0 {
		return text + "\n" + s.kernelPath(list.KernelPath) + s.overload(list.Overload)
	}
	for i := range drops {
		drops[i][2] = group(drops[i][2])
	}
	titles := [][]string{{"", "REASON", "COUNT"}}
	text += "\n" + strings.Join(align(append(titles, drops...), true, true, false), "\n") + "\n"
	return text + "\n" + s.kernelPath(list.KernelPath) + s.overload(list.Overload)
}

// kernelPath returns what the kernel relays itself, and why some datagrams were left to the
// shards.
func (s Formatter) kernelPath(k answer.KernelPath) string {
	if !k.On {
		return "kernel path: " + cmp.Or(k.Reason, "off") + "\n"
	}
	text := "kernel path: on, " + plural(s.figures(), int(k.Sessions), "session") + "\n"
	rows := [][]string{{"DEVICE", "LEFT TO THE SHARDS", "DATAGRAMS"}}
	for _, d := range k.Devices {
		up := reasons(d.Name, d.Up)
		switch {
		case d.Problem != "":
			rows = append(rows, []string{d.Name, "not attached: " + d.Problem, ""})
		case len(up) == 0:
			rows = append(rows, []string{d.Name, "nothing", ""})
		}
		for i := range up {
			up[i][2] = group(up[i][2])
		}
		rows = append(rows, up...)
	}
	return text + "\n" + strings.Join(align(rows, true, true, false), "\n") + "\n"
}

// reasons returns the counts other than 0, by name.
func reasons(kind string, counts map[string]uint64) [][]string {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		if n := counts[name]; n > 0 {
			rows = append(rows, []string{kind, name, strconv.FormatUint(n, 10)})
		}
	}
	return rows
}

// Stream returns one stream with its sessions.
func (s Formatter) Stream(d answer.StreamDetail) string {
	return strings.Join(s.streamFacts(d), "\n") + "\n\n" + tabulate(s, sessionColumns(nil), d.SessionList)
}

func (s Formatter) streamFacts(d answer.StreamDetail) []string {
	f := s.figures()
	var p pairs
	p.add("stream", wholeKey(d.Key))
	p.add("backend", backendName(d.Backend))
	encrypted := "no"
	if d.Encrypted {
		encrypted = "yes"
	}
	p.add("sessions", f.count(uint64(d.Sessions))+": "+plural(f, d.Publishers, "publisher")+", "+plural(f, d.Players, "player"))
	p.add("since", f.moment(d.Since)+" ("+f.since(d.Since, s.Now)+"), encrypted: "+encrypted)
	p.add("in", f.bitrate(d.BitrateIn)+", "+f.bytes(d.BytesIn)+" in all")
	p.add("out", f.bitrate(d.BitrateOut)+", "+f.bytes(d.BytesOut)+" in all")
	p.add("caller leg", "RTT "+f.millis(d.CallerRTT)+", loss "+f.percent(d.CallerLoss)+" (worst session)")
	p.add("backend leg", "RTT "+f.millis(d.BackendRTT)+", loss "+f.percent(d.BackendLoss)+" (worst session)")
	p.add("verdict", f.verdict(d.Stream))
	p.add("repair", f.count(d.Retransmitted)+" retransmitted, "+f.count(d.Dropped)+" given up by senders")
	return p.lines()
}

func plural(f figures, n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return f.count(uint64(n)) + " " + one + "s"
}

func backendName(b answer.BackendRef) string {
	if b.ID == "" {
		return unknown
	}
	if b.Address == "" || b.Address == b.ID {
		return answer.Printable(b.ID)
	}
	return answer.Printable(b.ID) + " at " + b.Address
}

// Backend returns one backend.
func (s Formatter) Backend(b answer.Backend) string {
	f := s.figures()
	var p pairs
	p.add("backend", answer.Printable(b.ID))
	p.add("address", b.Address)
	switch {
	case b.Left:
		p.add("name", answer.Printable(b.Name)+", which has other addresses now")
	case b.Name != "":
		p.add("name", answer.Printable(b.Name))
	}
	p.add("health", health(b))
	if b.Problem != "" {
		p.add("problem", answer.Printable(b.Problem))
	}
	if b.Ejected {
		p.add("ejected", answer.Printable(b.EjectedBecause))
		p.add("until", f.moment(b.EjectedUntil))
	}
	if b.Ejections > 0 {
		p.add("ejections", f.count(b.Ejections))
	}
	p.add("source", b.Source)
	p.add("carries", plural(f, b.Sessions, "session")+" of "+plural(f, b.Streams, "stream")+", "+f.bitrate(b.Bitrate))
	weight := strconv.Itoa(b.Weight)
	if b.ConfiguredWeight > 0 {
		weight += ", ordered; configured " + strconv.Itoa(b.ConfiguredWeight)
	}
	p.add("weight", weight)
	if b.OrderedBy != "" {
		p.add("ordered at", "relay "+answer.Printable(b.OrderedBy))
	}
	if b.KeyLength > 0 {
		p.add("encryption", "AES-"+strconv.Itoa(b.KeyLength*8))
	}
	p.add("known since", f.moment(b.RegisteredAt))
	p.add("last seen", f.moment(b.UpdatedAt))
	if !b.ExpiresAt.IsZero() {
		p.add("late from", f.moment(b.ExpiresAt))
	}
	for _, own := range [][2]string{{"device", b.DeviceID}, {"server", b.Server}, {"service", b.Service}, {"pid", b.PID}} {
		if own[1] != "" {
			p.add(own[0], answer.Printable(own[1]))
		}
	}
	return strings.Join(p.lines(), "\n") + "\n"
}

// Session returns one session in full, with both legs side by side.
func (s Formatter) Session(v answer.Session) string {
	return strings.Join(s.sessionLines(v), "\n") + "\n"
}

// pairs are lines of a name and a value.
type pairs struct{ rows [][]string }

func (p *pairs) add(name, value string) { p.rows = append(p.rows, []string{name, value}) }

func (p *pairs) lines() []string { return align(p.rows, true, true) }

// Event returns an event as one line: time, kind, and the fields that are set.
func (s Formatter) Event(e answer.Event) string {
	f := s.figures()
	// The feed keeps events for days, and many happen within one second.
	at := e.Time.Local().Format(time.DateTime + ".000")
	stream := e.Stream
	if s.Exact {
		at = f.moment(e.Time)
	} else if stream != "" {
		stream = shortKey(stream)
	}
	parts := []string{at, pad(answer.Printable(e.Kind), len("backend-registered"), true)}
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+answer.Printable(value))
		}
	}
	add("stream", stream)
	add("role", e.Role)
	add("caller", e.Caller)
	add("backend", e.Backend)
	if e.Address != e.Backend {
		add("address", e.Address)
	}
	if e.Code != 0 {
		add("code", fmt.Sprint(e.Code))
	}
	add("reason", e.Reason)
	add("limit", e.Limit)
	if e.MaxBitrate > 0 {
		add("bitrate", f.bitrate(e.Bitrate))
		add("max", f.bitrate(e.MaxBitrate))
	}
	add("step", e.Step)
	add("input", e.Input)
	if e.Step != "" {
		add("pressure", fmt.Sprintf("%.2f", e.Pressure))
	}
	add("cause", e.Cause)
	if e.TookMillis > 0 {
		add("took", f.took(e.TookMillis))
	}
	if e.Lost > 0 {
		add("lost", f.count(e.Lost))
	}
	add("session", e.Session)
	return strings.Join(parts, "  ")
}

// took formats a duration: in milliseconds below a second, as for a handshake, else in longer
// units.
func (f figures) took(millis float64) string {
	if f.exact || millis < 1000 {
		return f.millis(&millis)
	}
	return f.seconds(millis / 1000)
}
