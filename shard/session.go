package shard

import (
	"fmt"
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/migration"
)

// State is how far a session has come. Only the transitions of this file change it:
//
//	           dial               backend accepts
//	resolving ------> connecting ---------------> established
//	    |                 |                            |
//	    | no backend,     | rejected, silent,          | SHUTDOWN, idle, backend
//	    | deadline        | refused                    | gone, replaced, stopped
//	    v                 v                            v
//	 rejected <-----------+                         closing
//	    |  (replays the rejection for 3 s)             |  (a tombstone for 3 s)
//	    +--------------------> free <------------------+
type State uint8

// The states of a session. StateFree is that of an unused place.
const (
	StateFree State = iota
	StateResolving
	StateConnecting
	StateEstablished
	StateRejected
	StateClosing
)

var stateNames = [...]string{
	StateFree: "", StateResolving: "resolving", StateConnecting: "connecting", StateEstablished: "established",
	StateRejected: "rejected", StateClosing: "closing",
}

// StateNames returns the states of a session, in order, as the API names them.
func StateNames() []string { return slices.Clone(stateNames[StateResolving:]) }

// String returns the state's name in the API.
func (st State) String() string { return enumName(stateNames[:], st) }

// enumName returns the name of an enum value, or "unknown".
func enumName[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "unknown"
}

// alive reports whether a session has not ended yet.
func (st State) alive() bool { return st >= StateResolving && st <= StateEstablished }

// to changes the state. The wrong state before is a bug.
func (ss *session) to(st State, from ...State) {
	if !slices.Contains(from, ss.state) {
		panic(fmt.Sprintf("session goes from %q to %q", ss.state, st))
	}
	ss.state = st
}

// toResolving starts the handshake of an unused session.
func (ss *session) toResolving() { ss.to(StateResolving, StateFree) }

// toConnecting follows the choice of a backend, also of another one.
func (ss *session) toConnecting() { ss.to(StateConnecting, StateResolving, StateConnecting) }

// toEstablished completes the handshake.
func (ss *session) toEstablished(now time.Duration, backendID uint32) {
	ss.to(StateEstablished, StateConnecting)
	ss.backendID = backendID
	ss.establishedAt, ss.callerSeen, ss.backendSeen = now, now, now
}

// toRejected ends a handshake without a session.
func (ss *session) toRejected() { ss.to(StateRejected, StateResolving, StateConnecting) }

// toClosing ends an established session.
func (ss *session) toClosing(now time.Duration, cause Cause) {
	ss.to(StateClosing, StateEstablished)
	ss.cause, ss.lastShutdown = cause, now
}

// Flow counts what a session relayed in one direction.
type Flow struct{ Packets, Bytes uint64 }

// session is one caller's connection through the relay. It has no pointers, so that
// the garbage collector does not scan a hundred thousand of them, and an established one
// can be handed to another process as plain values. It belongs to its shard.
//
// It takes three cache lines: one that datagrams of both directions use, one that
// the caller's use, and the rest. Among many sessions each line is a cache miss.
type session struct {
	callerID     uint32
	backendID    uint32 // known from the response on
	caller       addr.AddrPort
	state        State
	cause        Cause
	front        uint8  // index of the front socket
	upstream     uint8  // index of the upstream socket
	peerSlot     uint16 // the peer's, while inPeer
	hasCallerKey bool   // the table has it under keyCaller
	responseUsed bool   // the caller has sent with the response's socket ID
	inPeer       bool   // the peer has this session: from dial to end
	publisher    bool   // the caller is a publisher
	captures     uint8  // a bit for each capture that this session belongs to
	inKernel     bool   // it is in the kernel path
	meter        telemetry.Meter
	isn          uint32

	backend    addr.AddrPort
	toBackend  Flow
	callerSeen time.Duration // last datagram from the caller
	// unansweredSince is when the caller first sent after the backend's last
	// datagram; 0 if that came later.
	unansweredSince time.Duration
	backendSeen     time.Duration // last datagram from the backend

	toCaller      Flow
	local         addr.IP // the address the caller dialled; zero unless the listener is a wildcard
	gen           uint32  // generation: tells this use of the place from the last
	group         uint32  // bonding group, 0 without one
	lease         backend.Lease
	establishedAt time.Duration // when it was established
	lastShutdown  time.Duration // when the last SHUTDOWN was sent, at first when it ended
}

// coldState is the part of a session that has pointers; few datagrams need it.
type coldState struct {
	pending *pendingHandshake // until the caller is answered
	replay  *handshake.Replay // from then on, while the caller may repeat its CONCLUSION
	peer    *peer             // from the first dial on; see session.inPeer
	names   string            // key and streamID; see setNames
	terms   telemetry.Terms
	opened  time.Duration // when the CONCLUSION came
	ended   time.Duration
	trace   migration.Trace
	// migrations is how often the caller's address has changed.
	migrations uint16
	keyLength  uint16 // of names
	// The neighbours in the peer's list of sessions: index+1, 0 at the ends.
	next, prev uint32
}

// setNames sets the affinity key of the stream, and the stream ID as the caller sent it. names
// is one after the other: as a string of its own each would take 16 bytes more.
func (cold *coldState) setNames(names string, keyLength int) {
	cold.names, cold.keyLength = names, uint16(keyLength)
}

// key returns the affinity key of the stream.
func (cold *coldState) key() string { return cold.names[:cold.keyLength] }

// streamID returns the stream ID as the caller sent it.
func (cold *coldState) streamID() string { return cold.names[cold.keyLength:] }

// backendID returns the backend that serves the session, or served it.
func (cold *coldState) backendID() backend.ID {
	if cold.peer == nil {
		return ""
	}
	return cold.peer.id
}

// pendingHandshake is what a session needs until its caller is answered. It is
// allocated by itself, so that an established session does not pay for it.
type pendingHandshake struct {
	proxyKey   string // see backend.Query
	leg        handshake.BackendLeg
	attempt    attempt
	tried      [2]backend.ID // backends that have not answered this handshake
	stallsSeen time.Duration // of stalls.total, what the deadlines have been moved by
}

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits // sessions allocated at once
	chunkMask = chunkSize - 1
)

// sessions is the shard's store of sessions, with the table that finds them. It
// grows by chunks, so that a session never moves, and reuses indexes last in,
// first out.
type sessions struct {
	chunks     []*[chunkSize]session
	coldChunks []*[chunkSize]coldState
	free       []uint32
	live       int // in any state
	tombstones int // of these, rejected or closing
	gen        uint32

	table table
	seed  uint64 // of the table's hashes: nobody outside may choose buckets
}

func (s *sessions) at(i uint32) *session { return &s.chunks[i>>chunkBits][i&chunkMask] }

func (s *sessions) cold(i uint32) *coldState { return &s.coldChunks[i>>chunkBits][i&chunkMask] }

// leg returns the backend leg of a session whose caller has no answer yet.
func (s *sessions) leg(i uint32) *handshake.BackendLeg { return &s.cold(i).pending.leg }

// alloc returns an unused session, zero but for its generation.
func (s *sessions) alloc() (uint32, *session) {
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
	*ss = session{gen: s.gen}
	return i, ss
}

func (s *sessions) extend() {
	base := uint32(len(s.chunks)) << chunkBits
	s.addChunk()
	for i := range uint32(chunkSize) {
		s.free = append(s.free, base+chunkSize-1-i)
	}
}

func (s *sessions) addChunk() {
	s.chunks = append(s.chunks, new([chunkSize]session))
	s.coldChunks = append(s.coldChunks, new([chunkSize]coldState))
}

func (s *sessions) release(i uint32) {
	*s.at(i) = session{}
	*s.cold(i) = coldState{}
	s.free = append(s.free, i)
	s.live--
}

// places returns the number of sessions that memory is allocated for.
func (s *sessions) places() uint64 { return uint64(len(s.chunks)) << chunkBits }

// find returns the session of an index and a generation, nil if there is none (any
// more).
func (s *sessions) find(index, gen uint32) *session {
	if uint64(index) >= s.places() {
		return nil
	}
	if ss := s.at(index); ss.gen == gen && ss.state != StateFree {
		return ss
	}
	return nil
}

// slice calls fn for the sessions of a few chunks and returns the next chunk, 0 at
// the end.
func (s *sessions) slice(from, chunks int, fn func(i uint32, ss *session)) (next int) {
	end := min(from+chunks, len(s.chunks))
	for c := from; c < end; c++ {
		for k := range s.chunks[c] {
			if ss := &s.chunks[c][k]; ss.state != StateFree {
				fn(uint32(c)<<chunkBits|uint32(k), ss)
			}
		}
	}
	if end < len(s.chunks) {
		return end
	}
	return 0
}

// each calls fn for every session in use. fn may end sessions.
func (s *sessions) each(fn func(i uint32, ss *session)) { s.slice(0, len(s.chunks), fn) }
