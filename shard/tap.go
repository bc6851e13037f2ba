package shard

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"

	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/udp"
	"srtrelay/wire"
)

const (
	// maxTaps is how many captures a shard copies for at once: a bit each of
	// Session.tapped.
	maxTaps = 8
	// tapSlice is how many chunks of sessions one letter marks or wipes: 4096
	// sessions, a fraction of a millisecond.
	tapSlice = 4
)

// ErrNoSession says that a session to be captured does not exist (any more).
var ErrNoSession = errors.New("no such session")

// taps are the captures that a shard copies datagrams for. They belong to its
// loop.
type taps struct {
	list  [maxTaps]*tapping // by bit of Session.tapped
	inUse int
}

// tapping is one capture's place in a shard.
type tapping struct {
	tap *capture.Tap // nil once it has ended; the place is then wiped
	// streams are wanted whole; without any, named is how many of the sessions
	// wanted are still there.
	streams []string
	named   int
}

// tap copies a datagram for the captures that want it. It is the one branch
// that a datagram pays for when there are none.
func (s *Shard) tap(ss *Session, how capture.How, p []byte) {
	if ss.tapped != 0 {
		s.copyOut(ss, how, p)
	}
}

func (s *Shard) copyOut(ss *Session, how capture.How, p []byte) {
	e := s.ends(ss)
	for m := ss.tapped; m != 0; m &= m - 1 {
		if t := s.taps.list[bits.TrailingZeros8(m)].tap; t != nil {
			t.Copy(s.now, how, &e, p)
		}
	}
}

// ends are the addresses of a session. Those of wildcard sockets have no IP:
// of the front one the session knows which was dialled, of the upstream one
// the kernel's routes do.
func (s *Shard) ends(ss *Session) capture.Ends {
	e := capture.Ends{Caller: ss.caller, Front: localEnd(&s.fronts[ss.front])}
	if ss.local != (addr.IP{}) {
		e.Front.IP, _ = ss.local.Unscoped()
	}
	if ss.backend.IsValid() {
		e.Upstream, e.Backend = localEnd(&s.backs[ss.port]), ss.backend
	}
	return e
}

func localEnd(l *link) addr.AddrPort {
	at := l.sock.Local()
	if at.Addr().IsUnspecified() {
		return addr.AddrPort{Port: at.Port()}
	}
	return addr.From(at)
}

// tapOpened begins with a session that has just been opened, if a capture
// waits for its stream. h is the CONCLUSION as it came.
func (s *Shard) tapOpened(front uint8, d *udp.Datagram, h wire.Handshake) {
	if s.taps.inUse == 0 {
		return
	}
	i, ss := s.byCaller(front, &d.From, h.SocketID())
	if ss == nil {
		return
	}
	for k, t := range s.taps.list {
		if t != nil && t.wants(s.sessions.side(i).key) {
			ss.tapped |= 1 << k
		}
	}
	s.tap(ss, capture.ToBackend|capture.Received, h)
}

func (t *tapping) wants(key string) bool {
	return t.tap != nil && slices.Contains(t.streams, key)
}

// tapForgotten ends the captures of which this was the last session.
func (s *Shard) tapForgotten(ss *Session) {
	for m := ss.tapped; m != 0; m &= m - 1 {
		k := bits.TrailingZeros8(m)
		t := s.taps.list[k]
		if t.tap == nil || len(t.streams) > 0 {
			continue
		}
		if t.named--; t.named == 0 {
			t.tap.End()
			s.dropTapping(k) // nobody else bears its bit
		}
	}
}

func (s *Shard) dropTapping(k int) {
	s.taps.list[k] = nil
	s.taps.inUse--
}

// commit hands over what was copied in this turn.
func (t *taps) commit() {
	if t.inUse == 0 {
		return
	}
	for _, one := range t.list {
		if one != nil && one.tap != nil {
			one.tap.Commit()
		}
	}
}

// end ends all captures: the shard copies no more.
func (t *taps) end() {
	for _, one := range t.list {
		if one != nil && one.tap != nil {
			one.tap.End()
			one.tap = nil
		}
	}
}

// startTap gives a capture a place and marks the sessions that it names. It
// returns the first that there is not.
func (s *Shard) startTap(t *capture.Tap, f capture.Filter) (k int, err error) {
	if s.stopping {
		return 0, ErrStopped
	}
	if k = slices.Index(s.taps.list[:], nil); k < 0 {
		return 0, fmt.Errorf("%w: shard %d captures for %d already", ErrBusy, s.id, maxTaps)
	}
	one := &tapping{tap: t, streams: f.Streams}
	s.taps.list[k] = one
	s.taps.inUse++
	for _, named := range f.Sessions {
		if named.Shard != s.id {
			continue
		}
		ss := s.named(SessionID(named))
		if ss == nil {
			return k, fmt.Errorf("%w: %s", ErrNoSession, SessionID(named))
		}
		if ss.tapped&(1<<k) == 0 {
			ss.tapped |= 1 << k
			one.named++
		}
	}
	return k, nil
}

// named returns the session of an ID, nil if there is none any more.
func (s *Shard) named(id SessionID) *Session {
	if uint64(id.Index) >= uint64(len(s.sessions.chunks))<<chunkBits {
		return nil
	}
	if ss := s.sessions.at(id.Index); ss.gen == id.Gen && ss.state != free {
		return ss
	}
	return nil
}

// markSlice marks the sessions of the streams that a capture wants, from a
// chunk on, and returns where to go on, 0 at the end. A session that begins
// meanwhile is marked as it opens.
func (s *Shard) markSlice(k int, t *capture.Tap, from int) int {
	one := s.taps.list[k]
	if one == nil || one.tap != t {
		return 0
	}
	return s.slice(from, func(i uint32, ss *Session) {
		if one.wants(s.sessions.side(i).key) {
			ss.tapped |= 1 << k
		}
	})
}

// stopTap ends a capture. Its place serves another when the marks are wiped.
func (s *Shard) stopTap(t *capture.Tap) (k int, found bool) {
	for k, one := range s.taps.list {
		if one != nil && one.tap == t {
			t.End()
			one.tap = nil
			return k, true
		}
	}
	return 0, false
}

// wipeSlice takes a capture's mark off the sessions, from a chunk on, and
// returns where to go on, 0 at the end.
func (s *Shard) wipeSlice(k, from int) int {
	next := s.slice(from, func(_ uint32, ss *Session) { ss.tapped &^= 1 << k })
	if next == 0 {
		s.dropTapping(k)
	}
	return next
}

// slice calls fn for the sessions of a few chunks and returns the next one, 0
// at the end.
func (s *Shard) slice(from int, fn func(i uint32, ss *Session)) (next int) {
	end := min(from+tapSlice, len(s.sessions.chunks))
	for c := from; c < end; c++ {
		for k := range s.sessions.chunks[c] {
			if ss := &s.sessions.chunks[c][k]; ss.state != free {
				fn(uint32(c)<<chunkBits|uint32(k), ss)
			}
		}
	}
	if end < len(s.sessions.chunks) {
		return end
	}
	return 0
}
