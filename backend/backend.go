// Package backend defines the servers behind the relay (Backend), the question
// which of them serves a caller (Query) and its answer (Target), and the Registry,
// which publishes immutable snapshots of all backends.
//
// It must not know how a backend is chosen (balancer) or how it is reached
// (shard).
package backend

import (
	"cmp"
	"errors"
	"net/netip"
	"time"
)

// ID names a backend for as long as the relay knows it.
type ID string

// Source says how the relay learnt of a backend.
type Source string

// The sources of backends: the configuration, heartbeats, and a store that relays
// share.
const (
	SourceStatic     Source = "static"
	SourceRegistered Source = "registered"
	SourceShared     Source = "shared"
)

// Registration is what an SRS server says of itself in a heartbeat
// (SrsHttpHeartbeat::do_heartbeat), unchanged for the readers of a shared store.
// It is immutable.
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
	// Host is the operator's host:port or srv://NAME. Addr is one of a name's
	// addresses.
	Host string
	// Addr is where handshakes and datagrams go. It is the zero AddrPort of the
	// backend that stands for a name without addresses, which is down.
	Addr netip.AddrPort
	// Problem says why there is no Addr, or why the name could not be looked up
	// again; "" for none.
	Problem string
	// LeftAt is when its name ceased to have Addr, zero while the name has it. Such
	// a backend keeps its streams, and gets new ones only if there is no other.
	LeftAt time.Time
	// Backup is 0 for a backend that takes part in every choice. One of 1 gets new
	// streams only if none of 0 can take them, and so on: the order of the
	// priorities of SRV records.
	Backup uint8
	// KeyLen is the key length that the backend advertises in its INDUCTION
	// reply: 2, 3 or 4 for AES-128, 192 or 256, 0 for none or not yet known.
	KeyLen uint16
	// Down means that the backend does not answer: it gets no streams.
	Down bool
	// Gone means that a backend is down for certain: nothing listens there.
	// Otherwise only probes were lost.
	Gone bool
	// Suspect means that a session found the backend silent, which no probe has
	// confirmed: it keeps its streams, and gets new ones only if there is no
	// other backend.
	Suspect bool
	// Draining means that the operator wants no new streams on the backend.
	Draining bool
	// Removed means that a static backend is no longer in the configuration: it gets
	// no new streams, and is forgotten when it has no sessions.
	Removed bool
	// Weight is the backend's share of new streams relative to the others', at
	// least 1, as configured.
	Weight int
	// OrderedWeight is the share that the operator has ordered in the running relay,
	// which comes before Weight; 0 for none.
	OrderedWeight int
	// OrderedBy is the relay whose operator has last changed Draining or OrderedWeight,
	// "" for this one. DrainedBy is the relay of the last change of Draining, WeighedBy that of
	// OrderedWeight, in this process only: an event names the one that it is about.
	OrderedBy, DrainedBy, WeighedBy string
	// Expires is when a backend that needs heartbeats becomes late, zero for
	// one that needs none.
	Expires time.Time
	// Registration is the backend's own, nil for a static backend without one.
	Registration *Registration
	// Added is when the registry got the backend, Answered when it last
	// answered a probe.
	Added, Answered time.Time
}

// Query describes a caller that needs a backend.
type Query struct {
	// Key is the affinity key of the stream: vhost/app/stream.
	Key string
	// ProxyKey is the key that SRS's proxy, which may share a store with relays,
	// has for the stream, "" if that is Key. SRS drops the last dot of a
	// stream's name and what follows; its proxy does not.
	ProxyKey string
	// Group is the bonding group ID, 0 without one. All members of a group go
	// to one backend, because SRT mirrors a group within one process.
	Group uint32
	// StreamID is the stream ID as received, for rules and logs.
	StreamID string
	// Publish is true for a publisher, false for a player.
	Publish bool
	// Caller is the caller's address.
	Caller netip.AddrPort
	// Tried are backends that have just failed to answer this caller's
	// handshake: they are not chosen for it again.
	Tried [2]ID
}

// Available reports whether the backend may get a new stream. A Suspect one may,
// if there is no other.
func (b Backend) Available(now time.Time) bool {
	return !b.Down && !b.Draining && !b.Removed && !b.Late(now)
}

// Share returns the backend's share of new streams relative to the others', at least 1.
func (b *Backend) Share() int { return max(cmp.Or(b.OrderedWeight, b.Weight), 1) }

// Late reports whether the backend's heartbeat is overdue.
func (b Backend) Late(now time.Time) bool {
	return !b.Expires.IsZero() && now.After(b.Expires)
}

// Lease is a session's claim on a backend, 0 for none. Its holder returns it
// once, after the session has ended.
type Lease uint64

// Target is the answer to a Query.
type Target struct {
	ID    ID
	Addr  netip.AddrPort
	Lease Lease
}

// The reasons for which a Query has no Target.
var (
	// ErrNone means that no backend can take the stream.
	ErrNone = errors.New("no backend available")
	// ErrNoStream means that a player asked for a stream that nobody publishes.
	ErrNoStream = errors.New("no such stream")
)

// Fate is what became of a placement. All but FateBegan end its lease.
type Fate uint8

// The fates of a placement.
const (
	// FateUnused: the caller went, or could not be served, before the backend had
	// its time. It says nothing of the backend.
	FateUnused Fate = iota
	// FateBegan: the backend accepted the caller. The lease goes on.
	FateBegan
	// FateRefused: the backend rejected the caller for want of resources.
	FateRefused
	// FateDenied: the backend rejected the caller for what it is or asks.
	FateDenied
	// FateSilent: the backend gave no valid answer in its time, or fell silent in
	// a session while its caller was sending.
	FateSilent
	// FateLost: nothing listens there any more.
	FateLost
	// FateClosed: the backend ended the session.
	FateClosed
	// FateEnded: the caller, the operator or the relay ended the session.
	FateEnded
)

var fateNames = [...]string{
	FateUnused: "unused", FateBegan: "began", FateRefused: "refused", FateDenied: "denied", FateSilent: "silent", FateLost: "lost",
	FateClosed: "closed", FateEnded: "ended",
}

// String returns the name of the fate in logs.
func (f Fate) String() string {
	if int(f) < len(fateNames) {
		return fateNames[f]
	}
	return "unknown"
}

// Outcome is what the holder of a lease reports of it.
type Outcome struct {
	Lease Lease
	Fate  Fate
	// Lasted is how long the session was established, 0 if it never was.
	Lasted time.Duration
}
