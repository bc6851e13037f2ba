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
	Role    string         // one of Roles
	State   string         // see Session.State
	Limit   int            // at most so many
	Cursor  string         // of the list before
}

// StreamQuery says which streams are wanted, and in which order.
type StreamQuery struct {
	Backend string // backend's ID, whole
	Match   string // what the key must contain; q in the URL
	Sort    string // one of SortOrders
	Limit   int    // at most so many
	Offset  int    // leave out so many first
	History int    // seconds of history with each
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

// Bounds of a list: 100,000 sessions must not make an answer of 100 MB.
const (
	DefaultLimit = 100
	MaxLimit     = 1000
	MaxHistory   = 120 // seconds
)

// ErrCursor says that a cursor is none of this relay's.
var ErrCursor = errors.New("not a cursor of this relay")
