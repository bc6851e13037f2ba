package shard

import (
	"net/netip"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
)

// EventKind says what happened.
type EventKind uint8

// Kinds of Event.
const (
	SessionBegun   EventKind = iota // the handshake is complete
	SessionEnded                    // an established session is over
	CallerRejected                  // a handshake failed; Code says why
	BackendGone                     // refused, and confirmed: nobody listens there
	UpstreamFailed                  // another upstream socket could not be opened; Err says why
)

// Event is something an operator may want to see, told off the path of a
// datagram. Fields that do not apply are zero.
type Event struct {
	Kind  EventKind
	Shard int
	// Session is missing of a CONCLUSION that was refused before it became one.
	Session SessionID
	Caller  netip.AddrPort
	Backend backend.ID
	Address netip.AddrPort // the backend's
	// Key is the affinity key of the stream, StreamID what a caller sent that
	// was refused before it had one. It may hold secrets.
	Key, StreamID string
	Publish       bool
	// CallerID and BackendID are the SRT socket IDs of the two ends.
	CallerID, BackendID uint32
	Code                handshake.Code
	Cause               Cause
	Err                 error
	// Took is how long the handshake, or the session, lasted.
	Took                time.Duration
	ToBackend, ToCaller Flow
}

// emit offers the event and never waits.
func (s *Shard) emit(e Event) {
	if s.cfg.Events == nil {
		return
	}
	e.Shard = s.id
	select {
	case s.cfg.Events <- e:
	default:
		s.counters.inc(EventsLost)
	}
}

// sessionEvent fills in what the session knows.
func (s *Shard) sessionEvent(kind EventKind, i uint32, ss *Session) Event {
	sd := s.sessions.side(i)
	e := Event{
		Kind: kind, Session: SessionID{s.id, i, ss.gen}, Caller: ss.caller.Netip(), Key: sd.key, Publish: ss.publish,
		CallerID: ss.callerID, BackendID: ss.backendID, Cause: ss.cause,
		ToBackend: ss.toBackend, ToCaller: ss.toCaller,
	}
	if ss.joined {
		e.Backend, e.Address = sd.peer.id, ss.backend.Netip()
	}
	return e
}
