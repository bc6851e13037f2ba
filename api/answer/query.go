package answer

import (
	"errors"
	"net/netip"
)

// SessionQuery says which sessions are wanted. Empty fields ask for nothing.
type SessionQuery struct {
	Stream  *string        // affinity key, whole; nil for any
	Backend string         // backend's ID, whole
	Caller  netip.AddrPort // port 0: any
	Role    string         // publisher or player
	State   string         // see Session.State
	Limit   int            // at most so many
	Cursor  string         // of the list before
}

// StreamQuery says which streams are wanted, and in which order.
type StreamQuery struct {
	Backend string // backend's ID, whole
	Match   string // what the key must contain; q in the URL
	Sort    string // see the Sort constants
	Limit   int    // at most so many
	Offset  int    // leave out so many first
	History int    // seconds of history with each
}

// The orders of streams: greatest first, except by key and since (oldest
// first, so that whoever shows the first n keeps showing the same).
const (
	SortKey      = "key"
	SortBitrate  = "bitrate"
	SortRTT      = "rtt"
	SortLoss     = "loss"
	SortSessions = "sessions"
	SortSince    = "since"
)

// Bounds of a list: 100,000 sessions must not make an answer of 100 MB.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	MaxHistory   = 120 // seconds
)

// ErrCursor says that a cursor is none of this relay's.
var ErrCursor = errors.New("not a cursor of this relay")
