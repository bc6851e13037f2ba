package shard

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"srtrelay/backend"
	"srtrelay/observe/telemetry"
)

// SessionID names a session for as long as it lives, and no other after it.
// The zero value names none.
type SessionID struct {
	Shard      int
	Index, Gen uint32
}

// String returns "shard-index-generation".
func (id SessionID) String() string {
	b := strconv.AppendInt(make([]byte, 0, 24), int64(id.Shard), 10)
	b = strconv.AppendUint(append(b, '-'), uint64(id.Index), 10)
	return string(strconv.AppendUint(append(b, '-'), uint64(id.Gen), 10))
}

// IsZero reports whether id names no session: generations count from 1.
func (id SessionID) IsZero() bool { return id.Gen == 0 }

// ParseSessionID reads what String writes.
func ParseSessionID(text string) (SessionID, error) {
	var parts [3]uint32
	rest := text
	for i := range parts {
		part, tail, more := strings.Cut(rest, "-")
		n, err := strconv.ParseUint(part, 10, 31+min(i, 1))
		if err != nil || more != (i < len(parts)-1) {
			return SessionID{}, fmt.Errorf("%q is no session ID like 0-17-42", text)
		}
		parts[i], rest = uint32(n), tail
	}
	return SessionID{Shard: int(parts[0]), Index: parts[1], Gen: parts[2]}, nil
}

// View is a copy of one session at one time. Times that did not come are zero.
type View struct {
	ID      SessionID
	State   string // resolving, connecting, established, rejected or closing
	Key     string // affinity key of the stream
	Publish bool
	// StreamID is as the caller sent it, Group its bonding group.
	StreamID string
	Group    uint32

	Caller, Backend             netip.AddrPort
	BackendID                   backend.ID
	CallerSocket, BackendSocket uint32

	Opened time.Time // the CONCLUSION came
	Begun  time.Time // established
	Seen   time.Time // the last datagram of either side
	Ended  time.Time
	Cause  Cause // why it ended; 0 before

	ToBackend, ToCaller Flow
	Terms               telemetry.Terms
	Ways                [2]telemetry.Quality // by telemetry.Way
	// Taken is when, Media when a data packet last passed either way, by the
	// clock of Opened.
	Taken, Media time.Time
}

// Role tells publishers from players.
type Role uint8

// Roles of a session's caller.
const (
	AnyRole Role = iota
	Publishers
	Players
)

// Want says which sessions a walk is for. The zero Want is all of them.
type Want struct {
	State string
	// ActiveSince leaves out sessions whose media stands still: since when,
	// without telemetry since when no datagram came.
	ActiveSince time.Time
	Key         *string
	Backend     backend.ID
	Caller      netip.AddrPort // port 0 is any
	Role        Role
}

// wants tests a session; the cheapest first, and what most decide alone.
func (s *Shard) wants(i uint32, ss *Session, w *Want) bool {
	if ss.state == free || w.State != "" && ss.state.String() != w.State {
		return false
	}
	if !w.ActiveSince.IsZero() && !s.activeSince(ss, w.ActiveSince.Sub(s.origin)) {
		return false
	}
	if w.Caller.IsValid() {
		caller := ss.caller.Netip()
		if caller.Addr() != w.Caller.Addr().Unmap() || w.Caller.Port() != 0 && caller.Port() != w.Caller.Port() {
			return false
		}
	}
	if w.Key == nil && w.Backend == "" && w.Role == AnyRole {
		return true
	}
	sd := s.sessions.side(i)
	return (w.Key == nil || sd.key == *w.Key) &&
		(w.Backend == "" || sd.backendID() == w.Backend) &&
		(w.Role == AnyRole || ss.publish == (w.Role == Publishers))
}

func (s *Shard) activeSince(ss *Session, since time.Duration) bool {
	if !s.cfg.Telemetry {
		return max(ss.callerSeen, ss.backendSeen) >= since
	}
	last, ok := s.meters.LastData(&ss.meter)
	return ok && last >= since
}

// backendID names the backend that serves the session, or served it.
func (sd *side) backendID() backend.ID {
	if sd.peer == nil {
		return ""
	}
	return sd.peer.id
}

// look copies a session.
func (s *Shard) look(i uint32, ss *Session, v *View) {
	sd := s.sessions.side(i)
	*v = View{
		ID: SessionID{s.id, i, ss.gen}, State: ss.state.String(),
		Key: sd.key, Publish: ss.publish, StreamID: sd.streamID, Group: ss.group,
		Caller: ss.caller.Netip(), BackendID: sd.backendID(),
		CallerSocket: ss.callerID, BackendSocket: ss.backendID,
		Opened: s.at(sd.opened), Begun: s.at(ss.begun), Ended: s.at(sd.ended),
		Seen: s.at(max(ss.callerSeen, ss.backendSeen)), Taken: s.at(s.now), Cause: ss.cause,
		ToBackend: ss.toBackend, ToCaller: ss.toCaller,
		Terms: sd.terms, Ways: s.meters.Report(&ss.meter),
	}
	if ss.backend.IsValid() {
		v.Backend = ss.backend.Netip()
	}
	if last, ok := s.meters.LastData(&ss.meter); ok {
		v.Media = s.at(last)
	}
}

// at turns a time of the loop's into one of the world's.
func (s *Shard) at(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return s.origin.Add(d)
}
