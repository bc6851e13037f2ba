package capture

import (
	"time"

	"srtrelay/addr"
)

// How says which way a datagram went and what the relay did with it.
type How uint8

// A datagram goes to the backend or else to the caller. Forwarded ones were
// received on one leg and sent on the other; what the relay answers or drops
// was received only, what it makes itself was sent only.
const (
	ToBackend How = 1 << iota
	Received
	Sent

	ToCaller  How = 0
	Forwarded     = Received | Sent
)

// Leg is one side of the relay.
type Leg uint8

// The two legs, in the order in which files name them.
const (
	Callers Leg = iota
	Backends
)

// From is the leg a datagram comes from.
func (h How) From() Leg {
	if h&ToBackend != 0 {
		return Callers
	}
	return Backends
}

// To is the leg a datagram goes to.
func (h How) To() Leg { return 1 - h.From() }

// eachLeg calls fn for every leg on which the datagram was seen.
func (h How) eachLeg(fn func(Leg)) {
	if h&Received != 0 {
		fn(h.From())
	}
	if h&Sent != 0 {
		fn(h.To())
	}
}

// Ends are the four addresses of a session. Upstream has no IP when the shard
// leaves the choice to the kernel.
type Ends struct {
	Caller, Front, Upstream, Backend addr.AddrPort
}

// Record is one datagram of a capture.
type Record struct {
	At   time.Duration // the shard's time of the turn
	How  How
	Ends Ends
	// Length is the datagram's; Data may be cut.
	Length int
	Data   []byte
}
