package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
)

// state is how far a session has come. It changes in this file only:
//
//	           dial               backend accepts
//	resolving ------> connecting ---------------> established
//	    |                 |                            |
//	    | no backend,     | rejected, silent,          | SHUTDOWN, idle, backend
//	    | deadline        | refused                    | gone, replaced, stopped
//	    v                 v                            v
//	 rejected <-----------+                         closing
//	    |  (replays the rejection for 3 s)             |  (a tombstone for 3 s)
//	    +--------------------> freed <-----------------+
type state uint8

const (
	free state = iota
	resolving
	connecting
	established
	rejected
	closing
)

var stateNames = [...]string{
	free: "", resolving: "resolving", connecting: "connecting", established: "established",
	rejected: "rejected", closing: "closing",
}

func (st state) String() string { return stateNames[st] }

// alive reports whether the session has not ended yet.
func (st state) alive() bool { return st >= resolving && st <= established }

// tombstoneKept is how long an ended session still answers for its keys:
// longer than datagrams linger in a network and than a peer that missed the
// SHUTDOWN goes on sending before it notices.
const tombstoneKept = 3 * time.Second

// shutdownRepeat spaces the SHUTDOWNs to a peer that goes on sending because
// the first one was lost.
const shutdownRepeat = 200 * time.Millisecond

// Cause says why a session ended.
type Cause uint8

// Why sessions end.
const (
	ByCaller      Cause = iota + 1 // the caller sent SHUTDOWN
	ByBackend                      // the backend sent SHUTDOWN
	Idle                           // no datagram either way for the idle timeout
	BackendSilent                  // the caller sends, the backend says nothing
	BackendLost                    // the kernel says that nobody listens there
	Replaced                       // the caller connected again under the same ID
	Stopped                        // the relay stops
	Kicked                         // by the operator
)

var causeNames = [...]string{
	ByCaller: "caller", ByBackend: "backend", Idle: "idle", BackendSilent: "backend silent",
	BackendLost: "backend lost", Replaced: "replaced", Stopped: "relay stopped", Kicked: "kicked",
}

func (c Cause) String() string { return causeNames[c] }

// byPeer reports whether a peer's own SHUTDOWN, which was forwarded, is the
// cause.
func (c Cause) byPeer() bool { return c == ByCaller || c == ByBackend }

// tellsCaller reports whether the caller must be told. Not after its own
// SHUTDOWN, nor when its ID already names its next connection.
func (c Cause) tellsCaller() bool { return c != ByCaller && c != Replaced }

// tellsBackend reports whether the backend must be told.
func (c Cause) tellsBackend() bool { return c != ByBackend }

// fate is what the balancer is told of a session's end.
func (c Cause) fate() backend.Fate {
	switch c {
	case ByBackend:
		return backend.Closed
	case BackendSilent:
		return backend.Silent
	case BackendLost:
		return backend.Lost
	}
	return backend.Ended
}

// Flow counts what went one way through a session.
type Flow struct{ Packets, Bytes uint64 }

// Session is one caller's connection through the relay: plain values only, so
// that a hundred thousand of them are nothing to the garbage collector, and an
// established one can be told to another process (or, one day, the kernel) as
// two addresses, two ports and two IDs. It belongs to its shard.
//
// It has three cache lines, by what touches them: both ways, a caller's
// datagrams, and the rest. Among many sessions each line is a miss.
type Session struct {
	callerID     uint32
	backendID    uint32 // from the response on
	caller       addr.AddrPort
	state        state
	cause        Cause
	front        uint8  // index of the listener
	port         uint8  // index of the upstream socket
	slot         uint16 // of the peer, from dial to end
	keyed        bool   // known by roleCaller
	responseUsed bool   // the caller has used the response
	joined       bool   // the peer counts this session: from dial to end
	publish      bool   // the caller is a publisher
	tapped       uint8  // a bit for each capture that wants this session's datagrams
	meter        telemetry.Meter
	isn          uint32

	backend    addr.AddrPort
	toBackend  Flow
	callerSeen time.Duration // last datagram from the caller
	// unanswered is when the caller first sent after the backend's last
	// datagram; 0 when the backend spoke last.
	unanswered  time.Duration
	backendSeen time.Duration // last datagram from the backend

	toCaller Flow
	local    addr.IP // the address the caller dialled; zero on a specific listener
	gen      uint32  // tells this use of the slot from the last
	group    uint32  // bonding group, 0 without one
	lease    backend.Lease
	begun    time.Duration // established
	told     time.Duration // last SHUTDOWN made for this session, at first its end
}

// side is what belongs to a session but holds pointers.
type side struct {
	opening  *opening          // until the caller has its answer
	replay   *handshake.Replay // from then on, while the caller may ask again
	peer     *peer             // from the first dial on; see Session.joined
	key      string            // affinity key of the stream
	streamID string            // as it came
	terms    telemetry.Terms
	opened   time.Duration // the CONCLUSION came
	ended    time.Duration
	// The peer's other sessions: index+1, 0 at the ends.
	next, prev uint32
}

// opening is what a session needs for its handshake only. It has an allocation
// of its own, so that an idle session, of which there may be a hundred
// thousand, pays for none of it.
type opening struct {
	spelled  string // see backend.Query
	exchange handshake.BackendLeg
	attempt  attempt
	tried    [2]backend.ID // who let this handshake pass without an answer
	stalled  time.Duration // of the shard's stalls, what its deadlines allow for
}

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits // sessions allocated at once: about 300 KiB with their sides
	chunkMask = chunkSize - 1
)

// sessions is the shard's store. It grows by chunks, so that a session never
// moves, and gives slots out again last in, first out.
type sessions struct {
	chunks []*[chunkSize]Session
	sides  []*[chunkSize]side
	free   []uint32
	live   int
	gen    uint32
}

func (s *sessions) at(i uint32) *Session { return &s.chunks[i>>chunkBits][i&chunkMask] }
func (s *sessions) side(i uint32) *side  { return &s.sides[i>>chunkBits][i&chunkMask] }

// exchange returns the handshake of a session that has not been answered yet.
func (s *sessions) exchange(i uint32) *handshake.BackendLeg { return &s.side(i).opening.exchange }

// alloc returns a zeroed session.
func (s *sessions) alloc() (uint32, *Session) {
	if len(s.free) == 0 {
		s.extend()
	}
	i := s.free[len(s.free)-1]
	s.free = s.free[:len(s.free)-1]
	s.live++
	if s.gen++; s.gen == 0 {
		s.gen = 1 // 0 names no session
	}
	ss := s.at(i)
	*ss = Session{gen: s.gen}
	return i, ss
}

func (s *sessions) extend() {
	base := uint32(len(s.chunks)) << chunkBits
	s.chunks = append(s.chunks, new([chunkSize]Session))
	s.sides = append(s.sides, new([chunkSize]side))
	for i := range uint32(chunkSize) {
		s.free = append(s.free, base+chunkSize-1-i)
	}
}

func (s *sessions) release(i uint32) {
	*s.at(i) = Session{}
	*s.side(i) = side{}
	s.free = append(s.free, i)
	s.live--
}

// all calls fn for every session in use. fn may end sessions.
func (s *sessions) all(fn func(i uint32, ss *Session)) {
	for c := range s.chunks {
		for k := range s.chunks[c] {
			if ss := &s.chunks[c][k]; ss.state != free {
				fn(uint32(c)<<chunkBits|uint32(k), ss)
			}
		}
	}
}
