package term

import (
	"slices"
	"strings"
	"time"

	"srtrelay/api/answer"
)

// Thresholds of loss in percent. SRT repairs a loss below lossAlarms without visible effects;
// above it latency or picture soon suffer.
const (
	lossWarns  = 1.0
	lossAlarms = 5.0
)

func lossSeverity(percent *float64) severity {
	switch {
	case percent == nil || *percent < lossWarns:
		return severityNone
	case *percent < lossAlarms:
		return severityWarning
	}
	return severityCritical
}

// streamColumns returns the columns of a list of streams; the first is the key.
func streamColumns(now time.Time, shown func(key string) string) []column[answer.Stream] {
	type s = answer.Stream
	return []column[s]{
		{title: "STREAM", left: true, text: func(_ figures, v s) string { return shown(v.Key) }},
		{title: "IN", minWidth: 11, text: func(f figures, v s) string { return f.bitrate(v.BitrateIn) }},
		{title: "OUT", minWidth: 11, text: func(f figures, v s) string { return f.bitrate(v.BitrateOut) }},
		{
			title: "CALLER LOSS", short: "C-LOSS", minWidth: 6, text: func(f figures, v s) string { return f.percent(v.CallerLoss) },
			severity: func(v s) severity { return lossSeverity(v.CallerLoss) },
		},
		{
			title: "BACKEND LOSS", short: "B-LOSS", minWidth: 6, text: func(f figures, v s) string { return f.percent(v.BackendLoss) },
			severity: func(v s) severity { return lossSeverity(v.BackendLoss) },
		},
		{title: "CALLER RTT", short: "C-RTT", minWidth: 7, text: func(f figures, v s) string { return f.millis(v.CallerRTT) }},
		{title: "BACKEND RTT", short: "B-RTT", minWidth: 7, text: func(f figures, v s) string { return f.millis(v.BackendRTT) }},
		{title: "SESSIONS", short: "SESS", minWidth: 4, text: func(f figures, v s) string { return f.count(uint64(v.Sessions)) }},
		{title: "PUBLISHERS", short: "PUB", minWidth: 3, text: func(f figures, v s) string { return f.count(uint64(v.Publishers)) }},
		{title: "PLAYERS", short: "PLAY", minWidth: 4, text: func(f figures, v s) string { return f.count(uint64(v.Players)) }},
		{title: "BACKEND", left: true, minWidth: 12, text: func(_ figures, v s) string { return answer.Printable(v.Backend.ID) }},
		{title: "SINCE", minWidth: 11, text: func(f figures, v s) string { return f.since(v.Since, now) }},
		{title: "RETRANSMITTED", short: "RETRANS", minWidth: 7, text: func(f figures, v s) string { return f.count(v.Retransmitted) }},
	}
}

// sessionColumns returns the columns of a list of sessions. shown formats the stream of each, and
// is nil for a list of one stream's sessions.
func sessionColumns(shown func(key string) string) []column[answer.Session] {
	type s = answer.Session
	columns := []column[s]{
		{title: "ID", left: true, minWidth: 8, text: func(_ figures, v s) string { return v.ID }},
		{title: "CALLER", left: true, text: func(_ figures, v s) string { return v.Caller }},
		{title: "TO BACKEND", short: "TO-BACK", minWidth: 11, text: func(f figures, v s) string { return f.bitrate(v.ToBackend.Bitrate) }},
		{title: "TO CALLER", short: "TO-CALL", minWidth: 11, text: func(f figures, v s) string { return f.bitrate(v.ToCaller.Bitrate) }},
		{
			title: "CALLER LOSS", short: "C-LOSS", minWidth: 6, text: func(f figures, v s) string { return f.percent(v.CallerLeg.LossPercent) },
			severity: func(v s) severity { return lossSeverity(v.CallerLeg.LossPercent) },
		},
		{
			title: "BACKEND LOSS", short: "B-LOSS", minWidth: 6, text: func(f figures, v s) string { return f.percent(v.BackendLeg.LossPercent) },
			severity: func(v s) severity { return lossSeverity(v.BackendLeg.LossPercent) },
		},
		{title: "ROLE", left: true, minWidth: 9, text: func(_ figures, v s) string { return v.Role }},
		{title: "CALLER RTT", short: "C-RTT", minWidth: 7, text: func(f figures, v s) string { return f.millis(v.CallerLeg.RTTMillis) }},
		{title: "BACKEND RTT", short: "B-RTT", minWidth: 7, text: func(f figures, v s) string { return f.millis(v.BackendLeg.RTTMillis) }},
		{title: "AGE", minWidth: 11, text: func(f figures, v s) string { return f.seconds(v.AgeSeconds) }},
		{title: "STATE", left: true, minWidth: 11, text: func(_ figures, v s) string { return state(v) }},
		{title: "BACKEND", left: true, minWidth: 8, text: func(_ figures, v s) string { return answer.Printable(v.Backend.ID) }},
	}
	if shown != nil {
		stream := column[s]{title: "STREAM", left: true, leastWidth: 16, text: func(_ figures, v s) string { return shown(v.Stream) }}
		columns = slices.Insert(columns, 6, stream) // behind the losses
	}
	return columns
}

func state(v answer.Session) string {
	if v.Ended != "" {
		return v.State + " (" + v.Ended + ")"
	}
	return v.State
}

// defaultVhost begins the keys of streams that name no virtual host.
const defaultVhost = "__defaultVhost__/"

// shortKey returns a stream's key for a table: without the default virtual host, which tells
// nobody anything. The web page does the same (api/web/ui/route.js).
func shortKey(key string) string {
	if rest, found := strings.CutPrefix(key, defaultVhost); found && rest != "" {
		key = rest
	}
	return wholeKey(key)
}

// wholeKey returns a stream's key as text. "" is the key of the default route.
func wholeKey(key string) string {
	if key == "" {
		return "(default route)"
	}
	return answer.Printable(key)
}

// backendColumns returns the columns of a list of backends.
func backendColumns(now time.Time) []column[answer.Backend] {
	type b = answer.Backend
	return []column[b]{
		{title: "BACKEND", left: true, text: func(_ figures, v b) string { return answer.Printable(v.ID) }},
		{title: "HEALTH", left: true, minWidth: 8, text: func(_ figures, v b) string { return health(v) }, severity: backendSeverity},
		{title: "SESSIONS", minWidth: 8, text: func(f figures, v b) string { return f.count(uint64(v.Sessions)) }},
		{title: "BITRATE", minWidth: 11, text: func(f figures, v b) string { return f.bitrate(v.Bitrate) }},
		{title: "STREAMS", minWidth: 7, text: func(f figures, v b) string { return f.count(uint64(v.Streams)) }},
		{title: "SEEN", minWidth: 11, text: func(f figures, v b) string { return f.since(v.UpdatedAt, now) }},
		{title: "WEIGHT", minWidth: 6, text: func(f figures, v b) string { return f.count(uint64(v.Weight)) }},
		{title: "ADDRESS", left: true, minWidth: 15, text: func(_ figures, v b) string { return v.Address }},
		{title: "SOURCE", left: true, minWidth: 10, text: func(_ figures, v b) string { return v.Source }},
	}
}

// health returns the state of a backend in one word.
func health(v answer.Backend) string {
	switch {
	case v.Late:
		return "late"
	case !v.Alive:
		return "down"
	case v.Removed:
		return "removed"
	case v.Draining:
		return "draining"
	case v.Returning:
		return "returning"
	case v.Ejected:
		return "ejected"
	case v.Left:
		return "left"
	}
	return "alive"
}

func backendSeverity(v answer.Backend) severity {
	switch {
	case !v.Alive:
		return severityCritical
	case v.Draining, v.Ejected, v.Left:
		return severityWarning
	}
	return severityNone
}

// sourceColumns returns the columns of a list of sources.
func sourceColumns() []column[answer.Source] {
	type s = answer.Source
	return []column[s]{
		{title: "SOURCE", left: true, text: func(_ figures, v s) string { return v.Source }},
		{title: "SESSIONS", short: "SESS", text: func(f figures, v s) string { return f.count(uint64(v.Sessions)) }},
		{title: "CONNECTS/S", short: "CONN/S", text: func(_ figures, v s) string { return three(v.Connects) }},
		{title: "BITRATE", minWidth: 11, text: func(f figures, v s) string { return f.bitrate(v.Bitrate) }},
		{title: "REFUSED", text: func(f figures, v s) string { return f.count(v.Refused) }, severity: func(v s) severity {
			if v.Refused > 0 {
				return severityWarning
			}
			return severityNone
		}},
		{title: "AT LIMIT", left: true, text: func(_ figures, v s) string { return v.Limit }},
		{title: "HANDSHAKES", short: "HALF", text: func(f figures, v s) string { return f.count(uint64(v.Handshakes)) }},
	}
}

// shardColumns returns the columns of a list of shards, whose last row is the total.
func shardColumns() []column[shardRow] {
	type r = shardRow
	number := func(of func(answer.Numbers) uint64) func(figures, r) string {
		return func(f figures, v r) string { return f.count(of(v.Numbers)) }
	}
	return []column[r]{
		{title: "SHARD", left: true, text: func(_ figures, v r) string { return v.name }},
		{title: "SESSIONS", short: "SESS", text: number(func(n answer.Numbers) uint64 { return n.Sessions })},
		{title: "PACKETS", text: number(func(n answer.Numbers) uint64 { return n.Packets })},
		{title: "BYTES", text: func(f figures, v r) string { return f.bytes(v.Bytes) }},
		{title: "DROPS", text: number(func(n answer.Numbers) uint64 { return sum(n.Drops) })},
		{title: "SEND DROPS", short: "SEND", text: number(func(n answer.Numbers) uint64 { return sum(n.SendDrops) })},
		{title: "KERNEL DROPS", short: "KERNEL", text: number(func(n answer.Numbers) uint64 { return n.KernelDrops })},
		{title: "HALF-OPEN", short: "HALF", text: number(func(n answer.Numbers) uint64 { return n.HalfOpen })},
		{title: "BATCH FILL", short: "FILL", text: func(_ figures, v r) string { return three(v.BatchFill) }},
	}
}

// shardRow is a shard, or the total.
type shardRow struct {
	name string
	answer.Numbers
}

func sum(counts map[string]uint64) uint64 {
	var n uint64
	for _, count := range counts {
		n += count
	}
	return n
}
