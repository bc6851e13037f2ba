// Package relays passes datagrams on between the relays that stand behind one address
// (ADR 25).
//
// A datagram that matches no session of its relay may be of a session of another one, for
// example because a router spreads flows differently since a relay has joined. A Lane, one
// for each shard, knows to which relay such flows belong, has the Link ask if it does not,
// and copies the datagrams into a ring. The Link seals what is in the rings (frame.go),
// sends it to the owner, and opens what other relays send. The owner answers the caller
// directly.
//
// It must not know what a session is, where owners are published, or how a datagram
// reaches a shard: these are functions that the relay gives to the Link.
package relays

import (
	"context"
	"sync/atomic"

	"srtrelay/addr"
)

// Flow is what a caller's datagrams of one session have in common, at every relay.
type Flow struct {
	Caller   addr.AddrPort
	Listener uint16 // the port that the caller dialled
	ID       uint32 // the backend's socket ID, which the datagrams bear; 0 for CONCLUSIONs
}

// Datagram is one that a relay passes on to another.
type Datagram struct {
	Caller   addr.AddrPort
	Local    addr.IP // the address that the caller dialled; zero if it is the listener's
	Listener uint16
	Data     []byte // valid until the function that gets it returns
}

// Owner is the relay that has a session of a flow.
type Owner struct {
	// At is its address for datagrams that are passed on; the zero value is none.
	At addr.AddrPort
	// Exact means that the session has the flow's caller. Otherwise it has another caller
	// with the same ID, which may have moved to this address.
	Exact bool
}

// Directory finds the relays that have sessions of flows, by the index of the flow. After an
// error nothing is known.
type Directory func(ctx context.Context, flows []Flow) ([]Owner, error)

// Outcome is what becomes of a datagram that is of no session of this relay.
type Outcome uint8

// Outcomes of Lane.Pass.
const (
	// OutcomeUnknown: no relay has a session of this flow, or Redis is away.
	OutcomeUnknown Outcome = iota
	// OutcomePassed: it is sent to the owner.
	OutcomePassed
	// OutcomeHeld: it waits until the owner is known.
	OutcomeHeld
	// OutcomeLimited: too many such datagrams, or questions.
	OutcomeLimited
)

// Counter is one counter of a Link.
type Counter uint8

// What a Link counts. Datagrams that were held are counted when they are sent or dropped.
const (
	CountSent         Counter = iota // datagrams passed on to another relay
	CountSentBytes                   // ... their bytes, as the caller sent them
	CountDelivered                   // datagrams from another relay, given to a shard
	CountLookups                     // flows whose owner was asked for
	CountLookupsFound                // ... and found
	CountLookupsAway                 // ... and not answered, because Redis is away

	// Drops before a datagram was sent.
	DropUnsent  // the sender was too slow, or sending failed
	DropUnowned // held, and no relay has a session of its flow

	// Drops of what came to the cluster address.
	DropShort         // no frame
	DropVersion       // a frame of another version
	DropSecret        // sealed with a secret that this relay does not share
	DropAuthenticator // a wrong authenticator: forged, damaged, or for another relay
	DropStale         // sealed more than a minute ago or ahead
	DropReplayed      // received before
	DropNoListener    // this relay does not listen at that port
	DropNoSession     // this relay has no such session
	DropBusy          // the shard's queue was full

	NumCounters
)

var counterNames = [NumCounters]string{
	CountSent: "sent", CountSentBytes: "sent_bytes", CountDelivered: "delivered",
	CountLookups: "lookups", CountLookupsFound: "lookups_found", CountLookupsAway: "lookups_away",
	DropUnsent: "unsent", DropUnowned: "unowned",
	DropShort: "short", DropVersion: "version", DropSecret: "secret", DropAuthenticator: "authenticator",
	DropStale: "stale", DropReplayed: "replayed", DropNoListener: "no_listener", DropNoSession: "no_session", DropBusy: "busy",
}

// String returns the counter's name in metrics.
func (c Counter) String() string {
	if c < NumCounters {
		return counterNames[c]
	}
	return "unknown"
}

// IsDrop reports whether c counts datagrams that went nowhere.
func (c Counter) IsDrop() bool { return c >= DropUnsent && c < NumCounters }

// Stats is a copy of a Link's counters.
type Stats [NumCounters]uint64

// counters are written by the sender, the receiver and the asker.
type counters [NumCounters]atomic.Uint64

func (c *counters) add(k Counter, n uint64) { c[k].Add(n) }

func (c *counters) stats() (s Stats) {
	for k := range c {
		s[k] = c[k].Load()
	}
	return s
}
