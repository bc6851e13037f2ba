package answer

import (
	"encoding/json"
	"time"
)

// Kinds of events.
const (
	EventSessionBegun = "session-begun"
	EventSessionEnded = "session-ended"
	// EventSessionMigrated says that a session follows its caller from Former to Caller.
	EventSessionMigrated = "session-migrated"
	EventCallerRejected  = "caller-rejected"
	// EventMoreRejected stands for Lost rejections of the last second that have
	// no event of their own.
	EventMoreRejected = "more-rejected"
	EventBackendGone  = "backend-gone"
	// EventStreamOverLimit says that a publisher is above the bitrate of its stream.
	EventStreamOverLimit   = "stream-over-limit"
	EventBackendRegistered = "backend-registered"
	EventBackendChanged    = "backend-changed"
	EventBackendRemoved    = "backend-removed"
	EventRulesChanged      = "rules-changed"
	EventConfigReloaded    = "config-reloaded"
	// A step of the overload ladder was entered or left.
	EventOverloadEntered = "overload-entered"
	EventOverloadLeft    = "overload-left"
	// EventLost says that the reader was too slow and has missed Lost events.
	EventLost = "lost"
)

// EventKinds are all kinds of events.
var EventKinds = []string{
	EventSessionBegun, EventSessionEnded, EventSessionMigrated, EventCallerRejected, EventMoreRejected, EventStreamOverLimit, EventBackendGone,
	EventBackendRegistered, EventBackendChanged, EventBackendRemoved, EventRulesChanged, EventConfigReloaded,
	EventOverloadEntered, EventOverloadLeft, EventLost,
}

// Event is one server-sent event of GET /api/v1/events. Its SSE event name is
// Kind, its SSE id is ID. A client that reconnects with Last-Event-ID, or asks
// with ?after=ID, gets the events it missed, as far as the relay still keeps
// them. Filters: kind, repeatable; stream.
type Event struct {
	ID      uint64    `json:"id"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Shard   *int      `json:"shard,omitempty"`
	Session string    `json:"session,omitempty"`
	Stream  string    `json:"stream,omitempty"`
	Role    string    `json:"role,omitempty"`
	Caller  string    `json:"caller,omitempty"`
	// Former is the caller's address before it changed.
	Former  string `json:"former,omitempty"`
	Backend string `json:"backend,omitempty"`
	Address string `json:"address,omitempty"`
	// Code and Reason are a rejection's: SRT's number and its name.
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Cause says why a session ended, or what changed about a backend, the rules or the
	// settings.
	Cause string `json:"cause,omitempty"`
	// Limit is the limit that was met by a caller that was rejected. Bitrate is what a
	// publisher sends, and MaxBitrate what it may send, in bit/s.
	Limit      string  `json:"limit,omitempty"`
	Bitrate    float64 `json:"bitrate,omitempty"`
	MaxBitrate float64 `json:"max_bitrate,omitempty"`
	// TookMillis is how long the handshake, or the session, lasted, or the caller had been
	// silent when its session followed it.
	TookMillis float64 `json:"took_ms,omitempty"`
	Lost       uint64  `json:"lost,omitempty"`
	// Step is a step of the overload ladder; Input had the highest Pressure, from 0 to 1.
	Step     string  `json:"step,omitempty"`
	Input    string  `json:"input,omitempty"`
	Pressure float64 `json:"pressure,omitempty"`
}

// Line returns the event as a line of JSON, as the feed and the event log have it: with
// the text that callers chose escaped.
func (e *Event) Line() ([]byte, error) {
	shown := *e
	shown.Stream, shown.Cause = Escape(e.Stream), Printable(e.Cause)
	body, err := json.Marshal(&shown)
	if err != nil {
		return nil, err
	}
	return append(EscapeJSON(body), '\n'), nil
}
