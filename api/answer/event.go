package answer

import "time"

// Event is one server-sent event of GET /api/v1/events. Its SSE event name is
// Kind, its SSE id is ID; a client that comes back with Last-Event-ID gets what
// it missed of the last thousands, and so does ?after=ID. Filters: kind,
// repeatable; stream.
//
// Kinds: session-begun, session-ended, caller-rejected, more-rejected (Lost of
// the last second's rejections are not told one by one), backend-gone,
// backend-registered, backend-changed, backend-removed, rules-changed, and lost
// (this reader was too slow: Lost events are missing here).
type Event struct {
	ID      uint64    `json:"id"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Shard   *int      `json:"shard,omitempty"`
	Session string    `json:"session,omitempty"`
	Stream  string    `json:"stream,omitempty"`
	Role    string    `json:"role,omitempty"`
	Caller  string    `json:"caller,omitempty"`
	Backend string    `json:"backend,omitempty"`
	Address string    `json:"address,omitempty"`
	// Code and Reason are a rejection's: SRT's number and its name.
	Code   int    `json:"code,omitempty"`
	Reason string `json:"reason,omitempty"`
	// Cause says why a session ended, or what changed about a backend.
	Cause string `json:"cause,omitempty"`
	// TookMillis is how long the handshake, or the session, lasted.
	TookMillis float64 `json:"took_ms,omitempty"`
	Lost       uint64  `json:"lost,omitempty"`
}
