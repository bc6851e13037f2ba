package term

import (
	"cmp"
	"strconv"
	"strings"

	"srtrelay/api/answer"
)

// relayRow is a relay, or the sum of those that are alive.
type relayRow struct {
	answer.Relay
	sum bool
}

// relayColumns returns the columns of a list of relays, whose last row is the sum.
func relayColumns() []column[relayRow] {
	type r = relayRow
	own := func(of func(f figures, v r) string) func(figures, r) string {
		return func(f figures, v r) string {
			if v.sum {
				return ""
			}
			return of(f, v)
		}
	}
	return []column[r]{
		{title: "RELAY", left: true, text: func(_ figures, v r) string { return relayName(v) }},
		{title: "STATE", left: true, text: own(func(_ figures, v r) string { return relayState(v.Relay) }), severity: relaySeverity},
		{title: "SESSIONS", text: func(f figures, v r) string { return f.count(uint64(v.Sessions)) }},
		{title: "STREAMS", text: func(f figures, v r) string { return f.count(uint64(v.Streams)) }},
		{title: "IN", text: func(f figures, v r) string { return f.bitrate(v.BitrateIn) }},
		{title: "OUT", text: func(f figures, v r) string { return f.bitrate(v.BitrateOut) }},
		{title: "SEEN", text: own(func(f figures, v r) string { return f.seconds(v.SeenSeconds) })},
		{title: "UPTIME", text: own(func(f figures, v r) string { return f.seconds(v.UptimeSeconds) })},
		{title: "OVERLOAD", left: true, text: own(func(_ figures, v r) string { return cmp.Or(answer.Printable(v.Overload), unknown) })},
		{title: "VERSION", left: true, text: own(func(_ figures, v r) string { return answer.Printable(v.Version) })},
		{title: "API", left: true, text: own(func(_ figures, v r) string { return cmp.Or(answer.Printable(v.API), unknown) })},
		{title: "ID", left: true, text: own(func(_ figures, v r) string { return answer.Printable(v.ID) })},
	}
}

// relayName marks the relay that has answered.
func relayName(v relayRow) string {
	switch {
	case v.sum:
		return "all alive"
	case v.Self:
		return answer.Printable(v.Name) + "*"
	}
	return answer.Printable(v.Name)
}

func relayState(v answer.Relay) string {
	switch {
	case v.State == answer.RelayAlive && v.Problem != "":
		return "unreadable"
	case v.State == answer.RelayAlive && v.Draining:
		return "draining"
	}
	return v.State
}

func relaySeverity(v relayRow) severity {
	switch {
	case v.sum:
		return severityNone
	case v.State != answer.RelayAlive:
		return severityCritical
	case v.Draining, v.Overload != "", v.Problem != "":
		return severityWarning
	}
	return severityNone
}

// Relays returns a table of the relays that share the state, with the sum of those that are
// alive.
func (s Formatter) Relays(list answer.RelayList) string {
	rows := make([]relayRow, 0, len(list.Relays)+1)
	for _, r := range list.Relays {
		rows = append(rows, relayRow{Relay: r})
	}
	rows = append(rows, relayRow{Relay: answer.Relay{RelaySums: list.Sum}, sum: true})
	return tabulate(s, relayColumns(), rows)
}

// placeRow is a stream at one relay.
type placeRow struct {
	key string
	answer.StreamPlace
}

// placeColumns returns the columns of the places of streams. shown formats the key of each,
// and is nil for a list of one stream's places.
func placeColumns(shown func(key string) string) []column[placeRow] {
	type p = placeRow
	columns := []column[p]{
		{title: "RELAY", left: true, text: func(_ figures, v p) string { return answer.Printable(v.Name) }},
		{title: "BACKEND", left: true, text: func(_ figures, v p) string { return answer.Printable(v.Backend.ID) }},
		{title: "STATE", left: true, text: func(_ figures, v p) string { return v.State }, severity: func(v p) severity {
			if v.State != answer.RelayAlive {
				return severityCritical
			}
			return severityNone
		}},
		{title: "IN", text: func(f figures, v p) string { return f.bitrate(v.BitrateIn) }},
		{title: "OUT", text: func(f figures, v p) string { return f.bitrate(v.BitrateOut) }},
		{title: "PUBLISHERS", short: "PUB", text: func(f figures, v p) string { return f.count(uint64(v.Publishers)) }},
		{title: "PLAYERS", short: "PLAY", text: func(f figures, v p) string { return f.count(uint64(v.Players)) }},
		{title: "SESSIONS", short: "SESS", text: func(f figures, v p) string { return f.count(uint64(v.Sessions)) }},
		{title: "AGE", text: func(f figures, v p) string { return f.seconds(v.AgeSeconds) }},
	}
	if shown != nil {
		key := column[p]{title: "STREAM", left: true, text: func(_ figures, v p) string { return shown(v.key) }}
		columns = append([]column[p]{key}, columns...)
	}
	return columns
}

// ClusterStreams returns a table of the streams of all relays, with a row for each relay that
// has one.
func (s Formatter) ClusterStreams(list []answer.ClusterStream) string {
	var rows []placeRow
	for _, one := range list {
		for _, p := range one.Places {
			rows = append(rows, placeRow{one.Key, p})
		}
	}
	return tabulate(s, placeColumns(s.key()), rows)
}

// ClusterStream returns one stream of all relays with its sums.
func (s Formatter) ClusterStream(one answer.ClusterStream) string {
	f := s.figures()
	alive := 0
	var rows []placeRow
	for _, p := range one.Places {
		rows = append(rows, placeRow{one.Key, p})
		if p.State == answer.RelayAlive {
			alive++
		}
	}
	var p pairs
	p.add("stream", wholeKey(one.Key))
	p.add("relays", strconv.Itoa(alive))
	p.add("sessions", f.count(uint64(one.Sessions))+": "+plural(f, one.Publishers, "publisher")+", "+plural(f, one.Players, "player"))
	p.add("in", f.bitrate(one.BitrateIn))
	p.add("out", f.bitrate(one.BitrateOut))
	return strings.Join(p.lines(), "\n") + "\n\n" + tabulate(s, placeColumns(nil), rows)
}

// SharedState returns why a view of all relays is not the present one, "" if it is.
func (s Formatter) SharedState(v answer.SharedState) string {
	if v.InUse {
		return ""
	}
	text := "redis is away since " + s.figures().moment(v.Since)
	if v.ReadAt.IsZero() {
		return text + ", and nothing is known of the relays"
	}
	return text + "; this is as it was at " + s.figures().moment(v.ReadAt)
}
