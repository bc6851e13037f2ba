package shard

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
)

// SessionID names one session, and never another. The zero value names none.
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

// IsZero reports whether id names no session. Generations count from 1.
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

// Sample is what changes of a session while it carries media, and what it belongs to.
type Sample struct {
	ID      SessionID
	Key     string // affinity key of the stream
	Publish bool
	// Begun is when it was established, Taken when the sample was taken.
	Begun, Taken        time.Time
	ToBackend, ToCaller Flow
	Ways                [2]telemetry.Quality // by telemetry.Way
}

// View is a copy of one session at one time. A time that has not come is zero.
type View struct {
	Sample
	State string // one of StateNames
	// StreamID is as the caller sent it, Group its bonding group.
	StreamID string
	Group    uint32

	Caller, Backend             netip.AddrPort
	BackendID                   backend.ID
	CallerSocket, BackendSocket uint32
	ListenPort                  uint16 // that the caller dialled

	Opened time.Time // when the CONCLUSION came
	Seen   time.Time // the last datagram of either side
	Ended  time.Time
	Cause  Cause // why it ended; 0 before

	// Migrations is how often the caller's address has changed.
	Migrations uint16

	Terms telemetry.Terms
	Media time.Time // when a data packet last passed either way
}

// Role is whether a caller publishes or plays.
type Role uint8

// Roles of a session's caller.
const (
	RoleAny Role = iota
	RolePublisher
	RolePlayer
)

// Filter says which sessions a walk returns. The zero Filter returns all of them.
type Filter struct {
	State   string
	Key     *string
	Backend backend.ID
	Caller  netip.AddrPort // port 0 is any
	Role    Role
}

const (
	// maxVisits and maxViews limit what one task may take of a loop: about 50
	// microseconds (BenchmarkWalk), as long as it takes to relay a batch or two.
	maxVisits = 1024
	maxViews  = 128
	// A full inbox is tried again after firstRetry, then twice as long each
	// time; all in all for a second.
	firstRetry = time.Millisecond
	retries    = 10
)

// Cursor is the position of a walk; the zero Cursor is the beginning.
type Cursor struct {
	Shard int
	Index uint32
}

// Walk copies views of the sessions that match a filter, from a cursor on, and returns
// how many, and the next cursor; done at the end. It has one shard do a bounded piece
// of work: an answer may be empty and not the last.
func (g *Group) Walk(ctx context.Context, from Cursor, dst []View, want Filter) (n int, next Cursor, done bool, err error) {
	if from.Shard < 0 || from.Shard >= len(g.shards) {
		return 0, from, true, nil
	}
	dst = dst[:min(len(dst), maxViews)]
	next = from
	err = g.shards[from.Shard].inbox.do(ctx, func(s *Shard) {
		var end bool
		if n, next.Index, end = s.walk(from.Index, dst, &want); end {
			next = Cursor{Shard: from.Shard + 1}
		}
	})
	return n, next, next.Shard == len(g.shards), err
}

// walk is one task of Walk. Loop only.
func (s *Shard) walk(from uint32, dst []View, want *Filter) (n int, next uint32, end bool) {
	return s.visitSome(from, len(dst),
		func(i uint32, ss *session) bool { return s.matches(i, ss, want) },
		func(k int, i uint32, ss *session) { s.fillView(i, ss, &dst[k]) })
}

// visitSome calls fill for the next sessions that match, from an index on, and counts them. It
// visits no more than maxVisits and finds no more than most.
func (s *Shard) visitSome(from uint32, most int, matches func(i uint32, ss *session) bool, fill func(k int, i uint32, ss *session)) (n int, next uint32, end bool) {
	all := s.sessions.places()
	last := min(all, uint64(from)+maxVisits)
	for i := uint64(from); i < last; i++ {
		ss := s.sessions.at(uint32(i))
		if !matches(uint32(i), ss) {
			continue
		}
		if n == most {
			return n, uint32(i), false
		}
		fill(n, uint32(i), ss)
		n++
	}
	return n, uint32(last), last == all || uint64(from) >= all
}

// Session returns a view of the session of an ID; false if it does not exist.
func (g *Group) Session(ctx context.Context, id SessionID) (v View, found bool, err error) {
	err = g.visit(ctx, id, func(s *Shard, ss *session) {
		s.fillView(id.Index, ss, &v)
		found = true
	})
	return v, found, err
}

// Kick ends a session for the operator: both sides get a SHUTDOWN, or the caller of a
// pending handshake a rejection. False if there is no such session.
func (g *Group) Kick(ctx context.Context, id SessionID) (kicked bool, err error) {
	err = g.visit(ctx, id, func(s *Shard, ss *session) {
		kicked = ss.state.alive()
		switch ss.state {
		case StateEstablished:
			s.endSession(id.Index, ss, CauseKicked)
		case StateResolving, StateConnecting:
			s.rejectWith(id.Index, ss, handshake.CodeForbidden, backend.FateUnused)
		}
	})
	return kicked, err
}

// visit runs fn on the loop with the session of an ID, if there is one.
func (g *Group) visit(ctx context.Context, id SessionID, fn func(*Shard, *session)) error {
	if id.Shard < 0 || id.Shard >= len(g.shards) || id.IsZero() {
		return nil
	}
	return g.shards[id.Shard].inbox.do(ctx, func(s *Shard) {
		if ss := s.sessions.find(id.Index, id.Gen); ss != nil {
			fn(s, ss)
		}
	})
}

// matches reports whether a session matches a filter. The cheapest tests come first.
func (s *Shard) matches(i uint32, ss *session, f *Filter) bool {
	if ss.state == StateFree || f.State != "" && ss.state.String() != f.State {
		return false
	}
	if f.Caller.IsValid() {
		caller := ss.caller.Netip()
		if caller.Addr() != f.Caller.Addr().Unmap() || f.Caller.Port() != 0 && caller.Port() != f.Caller.Port() {
			return false
		}
	}
	if f.Key == nil && f.Backend == "" && f.Role == RoleAny {
		return true
	}
	cold := s.sessions.cold(i)
	return (f.Key == nil || cold.key() == *f.Key) &&
		(f.Backend == "" || cold.backendID() == f.Backend) &&
		(f.Role == RoleAny || ss.publisher == (f.Role == RolePublisher))
}

// fillView copies a session.
func (s *Shard) fillView(i uint32, ss *session, v *View) {
	cold := s.sessions.cold(i)
	*v = View{
		State: ss.state.String(), StreamID: cold.streamID(), Group: ss.group,
		Caller: ss.caller.Netip(), BackendID: cold.backendID(),
		CallerSocket: ss.callerID, BackendSocket: ss.backendID, ListenPort: s.fronts[ss.front].sock.Local().Port(),
		Opened: s.wallTime(cold.opened), Ended: s.wallTime(cold.ended),
		Cause: ss.cause, Migrations: cold.migrations, Terms: cold.terms,
	}
	s.fillSample(i, ss, &v.Sample)
	v.Seen = s.wallTime(max(ss.callerSeen, ss.backendSeen))
	if ss.backend.IsValid() {
		v.Backend = ss.backend.Netip()
	}
	if last, ok := s.meters.LastData(&ss.meter); ok && !s.meters.Paused() {
		v.Media = s.wallTime(last)
	}
}

// wallTime converts a time of the loop.
func (s *Shard) wallTime(d time.Duration) time.Time {
	if d == 0 {
		return time.Time{}
	}
	return s.origin.Add(d)
}
