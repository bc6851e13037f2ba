// Package backend is the vocabulary of the servers behind the relay: who they
// are, what is asked for a new caller, what is answered; and the Registry,
// which publishes immutable snapshots of them.
//
// It must not know how a backend is chosen (balancer) or how it is reached
// (shard).
package backend

import (
	"errors"
	"net/netip"
	"time"
)

// ID names a backend for as long as the relay knows it.
type ID string

// Source says how the relay learnt of a backend.
type Source string

// Static backends come from the configuration, registered ones announce
// themselves by heartbeat, shared ones were learnt from a common store.
const (
	Static     Source = "static"
	Registered Source = "registered"
	Shared     Source = "shared"
)

// Registration is what an SRS server says of itself in a heartbeat
// (SrsHttpHeartbeat::do_heartbeat), kept as it came for whoever shares the
// store. It is not changed after it was made.
type Registration struct {
	IP, Device           string
	Server, Service, PID string
	// Listen endpoints by protocol: rtmp, http, api, srt, rtc; raw.
	RTMP, HTTP, API, SRT, RTC []string
}

// Backend is one server. It is a value: a change makes a new Snapshot.
type Backend struct {
	ID     ID
	Source Source
	// Host is what the operator wrote, host:port; names are resolved to Addr.
	Host string
	// Addr is where handshakes and datagrams go. It is the zero AddrPort while
	// a static backend's name does not resolve; the backend is down then.
	Addr netip.AddrPort
	// Problem says why there is no Addr, or why a name's present address is
	// not taken; "" for none.
	Problem string
	// KeyLen is the key length that the backend advertises in its INDUCTION
	// reply: 0 none or not learnt yet, 2, 3 or 4 for AES-128, 192, 256.
	KeyLen uint16
	// Down says that the backend is known not to answer: it gets no streams.
	Down bool
	// Gone says of one that is down that it is certain: nobody listens there.
	// Else only probes were lost.
	Gone bool
	// Suspect says that somebody found it silent and nobody has confirmed it:
	// it gets no new streams while there are others, and keeps those it has.
	Suspect bool
	// Draining says that the operator wants no new streams on it.
	Draining bool
	// Weight is its share of new streams against the others', at least 1.
	Weight int
	// Expires is when a backend that needs heartbeats counts as late, zero
	// for one that needs none.
	Expires time.Time
	// Registration is what the backend said of itself, nil for a static one.
	Registration *Registration
	// Added is when the backend was put in, Answered when it last answered a
	// probe.
	Added, Answered time.Time
}

// Query is what is known of a caller when a backend is needed for it.
type Query struct {
	// Key is the affinity key of the stream: vhost/app/stream.
	Key string
	// Spelled is the key with the stream's name as it was sent, "" where that is
	// the Key: SRS drops the last dot of it and what follows, SRS's proxy, which
	// may share a store with relays, does not.
	Spelled string
	// Group is the bonding group ID, 0 without one. Members of one group
	// reach one backend whatever their keys (SRT mirrors groups per process).
	Group uint32
	// StreamID is the stream ID as it came, for rules and logs.
	StreamID string
	// Publish is true for a publisher, false for a player.
	Publish bool
	// Caller is the caller's address.
	Caller netip.AddrPort
	// Tried are backends that have just let this caller's handshake pass
	// without an answer: they are not to be chosen again for it.
	Tried [2]ID
}

// Takes reports whether the backend may be given a new stream at a time. One
// that is Suspect may, if there is no other.
func (b Backend) Takes(now time.Time) bool {
	return !b.Down && !b.Draining && !b.Late(now)
}

// Late reports whether the backend's heartbeat is overdue.
func (b Backend) Late(now time.Time) bool {
	return !b.Expires.IsZero() && now.After(b.Expires)
}

// Lease is a session's hold on a backend, 0 for none. Whoever was given one
// returns it once, when the session is gone.
type Lease uint64

// Target is the answer to a Query.
type Target struct {
	ID    ID
	Addr  netip.AddrPort
	Lease Lease
}

// Why a Query has no Target.
var (
	// ErrNone says that no backend can take the stream.
	ErrNone = errors.New("no backend available")
	// ErrNoStream says that a player asked for a stream that nobody publishes.
	ErrNoStream = errors.New("no such stream")
)
