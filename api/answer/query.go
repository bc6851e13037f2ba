package answer

import (
	"errors"
	"net/netip"
)

// SessionQuery selects sessions. Empty fields select all.
type SessionQuery struct {
	Stream  *string        // the whole affinity key; nil for any
	Backend string         // the whole ID of a backend
	Caller  netip.AddrPort // port 0: any
	Role    string         // one of Roles
	State   string         // see Session.State
	Limit   int            // at most this many
	Cursor  string         // of the page before
}

// StreamQuery selects streams, and their order.
type StreamQuery struct {
	Backend string // the whole ID of a backend
	Match   string // part of the key; q in the URL
	Sort    string // one of SortOrders
	Limit   int    // at most this many
	Offset  int    // leave out this many first
	History int    // seconds of history for each stream
}

// Orders of streams. The greatest value comes first, except by key, which is
// alphabetical, and by since, which begins with the oldest stream: a client that
// shows the first n then keeps showing the same ones.
const (
	SortBitrate  = "bitrate"
	SortRTT      = "rtt"
	SortLoss     = "loss"
	SortSessions = "sessions"
	SortKey      = "key"
	SortSince    = "since"
)

// SortOrders are all orders of streams; the first is the default.
var SortOrders = []string{SortBitrate, SortRTT, SortLoss, SortSessions, SortKey, SortSince}

// Bounds of a list: an answer of 100,000 sessions would have 100 MB.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	MaxHistory   = 120 // seconds
)

// ErrCursor is the error for a cursor that this relay has not made.
var ErrCursor = errors.New("not a cursor of this relay")
