package term

import (
	"time"

	"srtrelay/api/answer"
)

// Loss above these is shown as a warning and an alarm. SRT repairs the former
// without anybody seeing it; the latter costs latency or pictures soon.
const (
	lossWarns  = 1.0
	lossAlarms = 5.0
)

func lossAlarm(percent *float64) alarm {
	switch {
	case percent == nil || *percent < lossWarns:
		return calm
	case *percent < lossAlarms:
		return warning
	}
	return alarming
}

// streamColumns are the columns of streams; the first is the key.
func streamColumns(now time.Time) []column[answer.Stream] {
	type s = answer.Stream
	return []column[s]{
		{title: "STREAM", left: true, text: func(_ figures, v s) string { return shownKey(v.Key) }},
		{title: "BACKEND", left: true, rank: 6, room: 12, text: func(_ figures, v s) string { return answer.Printable(v.Backend.ID) }},
		{title: "SESSIONS", short: "SESS", rank: 2, room: 4, text: func(f figures, v s) string { return f.count(uint64(v.Sessions)) }},
		{title: "PUBLISHERS", short: "PUB", rank: 5, room: 3, text: func(f figures, v s) string { return f.count(uint64(v.Publishers)) }},
		{title: "PLAYERS", short: "PLAY", rank: 4, room: 4, text: func(f figures, v s) string { return f.count(uint64(v.Players)) }},
		{title: "IN", room: 11, text: func(f figures, v s) string { return f.bitrate(v.BitrateIn) }},
		{title: "OUT", room: 11, text: func(f figures, v s) string { return f.bitrate(v.BitrateOut) }},
		{title: "CALLER RTT", short: "C-RTT", room: 7, text: func(f figures, v s) string { return f.millis(v.CallerRTT) }},
		{title: "BACKEND RTT", short: "B-RTT", room: 7, text: func(f figures, v s) string { return f.millis(v.BackendRTT) }},
		{
			title: "CALLER LOSS", short: "C-LOSS", room: 6, text: func(f figures, v s) string { return f.percent(v.CallerLoss) },
			alarm: func(v s) alarm { return lossAlarm(v.CallerLoss) },
		},
		{
			title: "BACKEND LOSS", short: "B-LOSS", room: 6, text: func(f figures, v s) string { return f.percent(v.BackendLoss) },
			alarm: func(v s) alarm { return lossAlarm(v.BackendLoss) },
		},
		{title: "RETRANSMITTED", short: "RETRANS", rank: 8, room: 7, text: func(f figures, v s) string { return f.count(v.Retransmitted) }},
		{title: "SINCE", rank: 7, room: 11, text: func(f figures, v s) string { return f.since(v.Since, now) }},
	}
}

// sessionColumns are the columns of sessions; the first is the caller, or the
// stream in a list of many streams.
func sessionColumns(manyStreams bool) []column[answer.Session] {
	type s = answer.Session
	columns := []column[s]{
		{title: "ID", left: true, room: 8, text: func(_ figures, v s) string { return v.ID }},
		{title: "ROLE", left: true, rank: 3, room: 9, text: func(_ figures, v s) string { return v.Role }},
		{title: "CALLER", left: true, text: func(_ figures, v s) string { return v.Caller }},
		{title: "BACKEND", left: true, rank: 6, room: 8, text: func(_ figures, v s) string { return answer.Printable(v.Backend.ID) }},
		{title: "STATE", left: true, rank: 5, room: 11, text: func(_ figures, v s) string { return state(v) }},
		{title: "TO BACKEND", short: "TO-BACK", room: 11, text: func(f figures, v s) string { return f.bitrate(v.ToBackend.Bitrate) }},
		{title: "TO CALLER", short: "TO-CALL", room: 11, text: func(f figures, v s) string { return f.bitrate(v.ToCaller.Bitrate) }},
		{title: "CALLER RTT", short: "C-RTT", rank: 1, room: 7, text: func(f figures, v s) string { return f.millis(v.CallerLeg.RTTMillis) }},
		{title: "BACKEND RTT", short: "B-RTT", rank: 2, room: 7, text: func(f figures, v s) string { return f.millis(v.BackendLeg.RTTMillis) }},
		{
			title: "CALLER LOSS", short: "C-LOSS", room: 6, text: func(f figures, v s) string { return f.percent(v.CallerLeg.LossPercent) },
			alarm: func(v s) alarm { return lossAlarm(v.CallerLeg.LossPercent) },
		},
		{
			title: "BACKEND LOSS", short: "B-LOSS", room: 6, text: func(f figures, v s) string { return f.percent(v.BackendLeg.LossPercent) },
			alarm: func(v s) alarm { return lossAlarm(v.BackendLeg.LossPercent) },
		},
		{title: "AGE", rank: 4, room: 11, text: func(f figures, v s) string { return f.seconds(v.AgeSeconds) }},
	}
	if manyStreams {
		columns = append(columns, column[s]{title: "STREAM", left: true, text: func(_ figures, v s) string { return shownKey(v.Stream) }})
	}
	return columns
}

func state(v answer.Session) string {
	if v.Ended != "" {
		return v.State + " (" + v.Ended + ")"
	}
	return v.State
}

// shownKey is a stream's key for reading. "" is what a caller without stream
// ID has.
func shownKey(key string) string {
	if key == "" {
		return "(default route)"
	}
	return answer.Printable(key)
}

// backendColumns are the columns of backends.
func backendColumns(now time.Time) []column[answer.Backend] {
	type b = answer.Backend
	return []column[b]{
		{title: "BACKEND", left: true, text: func(_ figures, v b) string { return answer.Printable(v.ID) }},
		{title: "ADDRESS", left: true, rank: 4, room: 15, text: func(_ figures, v b) string { return v.Address }},
		{title: "HEALTH", left: true, room: 8, text: func(_ figures, v b) string { return health(v) }, alarm: backendAlarm},
		{title: "SOURCE", left: true, rank: 5, room: 10, text: func(_ figures, v b) string { return v.Source }},
		{title: "SESSIONS", room: 8, text: func(f figures, v b) string { return f.count(uint64(v.Sessions)) }},
		{title: "STREAMS", rank: 1, room: 7, text: func(f figures, v b) string { return f.count(uint64(v.Streams)) }},
		{title: "BITRATE", room: 11, text: func(f figures, v b) string { return f.bitrate(v.Bitrate) }},
		{title: "WEIGHT", rank: 3, room: 6, text: func(f figures, v b) string { return f.count(uint64(v.Weight)) }},
		{title: "SEEN", rank: 2, room: 11, text: func(f figures, v b) string { return f.since(v.UpdatedAt, now) }},
	}
}

// health is one word for what an operator does about a backend.
func health(v answer.Backend) string {
	switch {
	case v.Late:
		return "late"
	case !v.Alive:
		return "down"
	case v.Draining:
		return "draining"
	case v.Returning:
		return "returning"
	case v.Ejected:
		return "ejected"
	}
	return "alive"
}

func backendAlarm(v answer.Backend) alarm {
	switch {
	case !v.Alive:
		return alarming
	case v.Draining, v.Ejected:
		return warning
	}
	return calm
}

// shardColumns are the columns of shards; the total is the row named so.
func shardColumns() []column[shardRow] {
	type r = shardRow
	number := func(of func(answer.Numbers) uint64) func(figures, r) string {
		return func(f figures, v r) string { return f.count(of(v.Numbers)) }
	}
	return []column[r]{
		{title: "SHARD", left: true, text: func(_ figures, v r) string { return v.name }},
		{title: "SESSIONS", text: number(func(n answer.Numbers) uint64 { return n.Sessions })},
		{title: "HALF-OPEN", text: number(func(n answer.Numbers) uint64 { return n.HalfOpen })},
		{title: "PACKETS", text: number(func(n answer.Numbers) uint64 { return n.Packets })},
		{title: "BYTES", text: func(f figures, v r) string { return f.bytes(v.Bytes) }},
		{title: "BATCH FILL", text: func(_ figures, v r) string { return three(v.BatchFill) }},
		{title: "DROPS", text: number(func(n answer.Numbers) uint64 { return sum(n.Drops) })},
		{title: "SEND DROPS", text: number(func(n answer.Numbers) uint64 { return sum(n.SendDrops) })},
		{title: "KERNEL DROPS", text: number(func(n answer.Numbers) uint64 { return n.KernelDrops })},
	}
}

// shardRow is a shard, or all of them.
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
