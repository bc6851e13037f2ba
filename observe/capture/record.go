package capture

import (
	"time"

	"srtrelay/addr"
)

// How says which way a datagram travels and what the relay did with it.
type How uint8

// A datagram travels to the backend or else to the caller. A forwarded datagram was
// received on one leg and sent on the other. One that the relay answers or drops was only
// received, one that it makes itself was only sent.
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
	LegCallers Leg = iota
	LegBackends
)

// From returns the leg that the datagram comes from.
func (h How) From() Leg {
	if h&ToBackend != 0 {
		return LegCallers
	}
	return LegBackends
}

// To returns the leg that the datagram goes to.
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

// Ends are the four addresses of a session. Upstream has no IP if the shard's socket is not
// bound to one.
type Ends struct {
	Caller, Front, Upstream, Backend addr.AddrPort
}

// Record is one datagram of a capture.
type Record struct {
	At   time.Duration // time of the turn, by the shard's clock
	How  How
	Ends Ends
	// Length is the datagram's length; Data may be shorter.
	Length int
	Data   []byte
}
