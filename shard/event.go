package shard

import (
	"net/netip"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/shard/limit"
)

// EventKind says what happened.
type EventKind uint8

// Kinds of Event.
const (
	EventSessionBegun    EventKind = iota // the handshake is complete
	EventSessionEnded                     // an established session is over
	EventCallerRejected                   // a handshake failed; Code says why
	EventBackendLost                      // proven: nobody listens there
	EventUpstreamFailed                   // another upstream socket could not be opened; Err says why
	EventSessionMigrated                  // its caller has another address: from Former to Caller
	EventStreamOverLimit                  // a publisher is above its bitrate, and is ended if it stays there
	EventHandshakeBegun                   // a CONCLUSION was taken; only if other relays pass datagrams on to this one
)

// Event is something an operator may want to know. Fields that do not apply are zero.
type Event struct {
	Kind  EventKind
	Shard int
	// Session is zero for a CONCLUSION that was rejected without one.
	Session SessionID
	Caller  netip.AddrPort
	Former  netip.AddrPort // the caller's address before it changed
	Backend backend.ID
	Address netip.AddrPort // the backend's
	// Key is the affinity key of the stream. StreamID is set if the CONCLUSION
	// was rejected without a session; it may contain secrets.
	Key, StreamID string
	Publish       bool
	// CallerID and BackendID are the SRT socket IDs of the two ends.
	CallerID, BackendID uint32
	// ListenPort is the port that the caller of a session dialled.
	ListenPort uint16
	Code       handshake.Code
	Cause      Cause
	Err        error
	// Took is how long the handshake, or the session, lasted; of a migration, how long the
	// caller had been silent.
	Took                time.Duration
	ToBackend, ToCaller Flow
	// Limit is the one that was met by a caller that was rejected. Bitrate is what a
	// publisher sends and MaxBitrate what it may, in bit/s.
	Limit               limit.Limit
	Bitrate, MaxBitrate uint64
}

// emit queues an event, or counts it as lost if the queue is full.
func (s *Shard) emit(e Event) {
	if s.cfg.Events == nil {
		return
	}
	e.Shard = s.id
	select {
	case s.cfg.Events <- &e:
	default:
		s.counters.inc(CountEventsLost)
	}
}

// sessionEvent returns an event with the session's fields.
func (s *Shard) sessionEvent(kind EventKind, i uint32, ss *session) Event {
	cold := s.sessions.cold(i)
	e := Event{
		Kind: kind, Session: SessionID{s.id, i, ss.gen}, Caller: ss.caller.Netip(), Key: cold.key(), Publish: ss.publisher,
		CallerID: ss.callerID, BackendID: ss.backendID, Cause: ss.cause, ListenPort: s.fronts[ss.front].sock.Local().Port(),
		ToBackend: ss.toBackend, ToCaller: ss.toCaller,
	}
	if ss.inPeer {
		e.Backend, e.Address = cold.peer.id, ss.backend.Netip()
	}
	return e
}

// Cause says why a session ended.
type Cause uint8

// Causes of a session's end.
const (
	CauseCaller        Cause = iota + 1 // the caller sent SHUTDOWN
	CauseBackend                        // the backend sent SHUTDOWN
	CauseIdle                           // no datagram either way for the idle timeout
	CauseBackendSilent                  // the caller sends, the backend says nothing
	CauseBackendLost                    // the kernel says that nobody listens there
	CauseReplaced                       // the caller connected again under the same ID
	CauseStopped                        // the relay stops
	CauseKicked                         // the operator closed it
	CauseOverLimit                      // the publisher was above its bitrate for too long
	CauseCrash                          // the relay crashed, and could not go on with it
)

var causeNames = [...]string{
	CauseCaller: "caller", CauseBackend: "backend", CauseIdle: "idle", CauseBackendSilent: "backend silent",
	CauseBackendLost: "backend lost", CauseReplaced: "replaced", CauseStopped: "relay stopped", CauseKicked: "kicked",
	CauseOverLimit: "over limit",
	CauseCrash:     "relay crashed",
}

// String returns the cause's name in the API.
func (c Cause) String() string { return enumName(causeNames[:], c) }

// Causes returns all causes.
func Causes() []Cause {
	all := make([]Cause, 0, len(causeNames))
	for c := CauseCaller; int(c) < len(causeNames); c++ {
		all = append(all, c)
	}
	return all
}

// byPeer reports whether a SHUTDOWN from either side, which was forwarded, is the
// cause.
func (c Cause) byPeer() bool { return c == CauseCaller || c == CauseBackend }

// needsCallerShutdown reports whether the caller must get a SHUTDOWN: not after its
// own, nor when its socket ID is already that of its next connection.
func (c Cause) needsCallerShutdown() bool { return c != CauseCaller && c != CauseReplaced }

// needsBackendShutdown reports whether the backend must get a SHUTDOWN.
func (c Cause) needsBackendShutdown() bool { return c != CauseBackend }

// fate is the outcome of the lease that the resolver gets.
func (c Cause) fate() backend.Fate {
	switch c {
	case CauseBackend:
		return backend.FateClosed
	case CauseBackendSilent:
		return backend.FateSilent
	case CauseBackendLost:
		return backend.FateLost
	}
	return backend.FateEnded
}
