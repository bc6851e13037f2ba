package shard

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/capture"
	"srtrelay/wire"
)

const (
	// maxCaptures is how many captures a shard copies for at once: each has a bit
	// of session.captures.
	maxCaptures = 8
	// captureChunks is how many chunks of sessions one task marks or unmarks,
	// which takes a fraction of a millisecond.
	captureChunks = 4
)

// ErrNoSession says that a session to be captured does not exist (any more).
var ErrNoSession = errors.New("no such session")

// captures are the captures that a shard copies datagrams for. They belong to its
// loop.
type captures struct {
	list  [maxCaptures]*captureSlot // by bit of session.captures
	inUse int
}

// captureSlot is one capture in a shard.
type captureSlot struct {
	tap *capture.Tap // nil once it has ended; then the sessions are unmarked
	// streams are captured whole. Without any, named is how many of the captured
	// sessions still exist.
	streams []string
	named   int
}

func (t *captureSlot) wants(key string) bool {
	return t.tap != nil && slices.Contains(t.streams, key)
}

// sessionFreed ends the captures of which this was the last session.
func (c *captures) sessionFreed(ss *session) {
	for m := ss.captures; m != 0; m &= m - 1 {
		k := bits.TrailingZeros8(m)
		slot := c.list[k]
		if slot.tap == nil || len(slot.streams) > 0 {
			continue
		}
		if slot.named--; slot.named == 0 {
			slot.tap.End()
			c.drop(k) // no other session has its bit
		}
	}
}

// drop makes a slot free for another capture.
func (c *captures) drop(k int) {
	c.list[k] = nil
	c.inUse--
}

// commit publishes what was copied in this turn.
func (t *captures) commit() {
	if t.inUse == 0 {
		return
	}
	for _, one := range t.list {
		if one != nil && one.tap != nil {
			one.tap.Commit()
		}
	}
}

// stop ends a capture. Its slot can be used again when no session has its bit.
func (c *captures) stop(t *capture.Tap) (k int, found bool) {
	for k, slot := range c.list {
		if slot != nil && slot.tap == t {
			t.End()
			slot.tap = nil
			return k, true
		}
	}
	return 0, false
}

// end ends all captures.
func (t *captures) end() {
	for _, one := range t.list {
		if one != nil && one.tap != nil {
			one.tap.End()
			one.tap = nil
		}
	}
}

func (s *Shard) copyToCaptures(ss *session, how capture.How, p []byte) {
	e := s.captureEnds(ss)
	for m := ss.captures; m != 0; m &= m - 1 {
		if t := s.captures.list[bits.TrailingZeros8(m)].tap; t != nil {
			t.Copy(s.now, how, &e, p)
		}
	}
}

// captureEnds returns the addresses of a session. A wildcard socket has no IP: on the
// front the session knows the address that the caller dialled; the kernel chooses
// the source address of the upstream.
func (s *Shard) captureEnds(ss *session) capture.Ends {
	e := capture.Ends{Caller: ss.caller, Front: localEnd(&s.fronts[ss.front])}
	if ss.local != (addr.IP{}) {
		e.Front.IP, _ = ss.local.Unscoped()
	}
	if ss.backend.IsValid() {
		e.Upstream, e.Backend = localEnd(&s.backs[ss.upstream]), ss.backend
	}
	return e
}

func localEnd(ep *endpoint) addr.AddrPort {
	at := ep.sock.Local()
	if at.Addr().IsUnspecified() {
		return addr.AddrPort{Port: at.Port()}
	}
	return addr.From(at)
}

// captureOpened adds a session that was just opened to the captures that want its
// stream. h is the CONCLUSION as it came.
func (s *Shard) captureOpened(i uint32, ss *session, h wire.Handshake) {
	if s.captures.inUse == 0 {
		return
	}
	for k, c := range s.captures.list {
		if c != nil && c.wants(s.sessions.cold(i).key()) {
			ss.captures |= 1 << k
		}
	}
	s.capture(ss, capture.ToBackend|capture.Received, h)
}

// startCapture gives a capture a slot and marks the sessions that it names. The error
// says which of them does not exist.
func (s *Shard) startCapture(t *capture.Tap, f capture.Filter) (k int, err error) {
	if s.exiting {
		return 0, ErrStopped
	}
	if k = slices.Index(s.captures.list[:], nil); k < 0 {
		return 0, fmt.Errorf("%w: shard %d captures for %d already", ErrBusy, s.id, maxCaptures)
	}
	one := &captureSlot{tap: t, streams: f.Streams}
	s.captures.list[k] = one
	s.captures.inUse++
	for _, named := range f.Sessions {
		if named.Shard != s.id {
			continue
		}
		ss := s.sessions.find(named.Index, named.Gen)
		if ss == nil {
			return k, fmt.Errorf("%w: %s", ErrNoSession, SessionID(named))
		}
		if ss.captures&(1<<k) == 0 {
			ss.captures |= 1 << k
			s.leaveKernel(named.Index, ss)
			one.named++
		}
	}
	return k, nil
}

// markCapture marks the sessions of the streams that a capture wants, from a chunk
// on, and returns the next chunk, 0 at the end. A session that opens meanwhile is
// marked by captureOpened.
func (s *Shard) markCapture(k int, t *capture.Tap, from int) int {
	one := s.captures.list[k]
	if one == nil || one.tap != t {
		return 0
	}
	return s.sessions.slice(from, captureChunks, func(i uint32, ss *session) {
		if one.wants(s.sessions.cold(i).key()) {
			ss.captures |= 1 << k
			s.leaveKernel(i, ss)
		}
	})
}

// unmarkCapture removes a capture's mark from the sessions, from a chunk on, and
// returns the next chunk, 0 at the end.
func (s *Shard) unmarkCapture(k, from int) int {
	next := s.sessions.slice(from, captureChunks, func(i uint32, ss *session) {
		if ss.captures&(1<<k) == 0 {
			return
		}
		ss.captures &^= 1 << k
		if ss.state == StateEstablished {
			s.enterKernel(i, ss, false)
		}
	})
	if next == 0 {
		s.captures.drop(k)
	}
	return next
}

// Capture has the shards copy the datagrams that f wants, until stop is called
// or there is nothing more to come (capture.Capture.Ended). When it returns
// every session that f wants is captured, and those that begin later will be.
// stop waits until no shard copies any more; it may be called again.
func (g *Group) Capture(ctx context.Context, f capture.Filter, k capture.Keep) (c *capture.Capture, stop func(), err error) {
	for _, named := range f.Sessions {
		if named.Shard < 0 || named.Shard >= len(g.shards) {
			return nil, nil, fmt.Errorf("%w: %s", ErrNoSession, SessionID(named))
		}
	}
	c = capture.New(f, k, len(g.shards))
	now := time.Now()
	c.Origin = now.Add(-now.Sub(g.shards[0].origin))
	stop = func() {
		for _, s := range g.shards {
			s.leaveCapture(c.Tap(s.id))
		}
	}
	for _, s := range g.shards {
		if err := s.joinCapture(ctx, c); err != nil {
			stop()
			return nil, nil, err
		}
	}
	return c, stop, nil
}

// joinCapture starts a capture on one shard. Any goroutine may call it.
func (s *Shard) joinCapture(ctx context.Context, c *capture.Capture) error {
	t := c.Tap(s.id)
	if t == nil {
		return nil
	}
	var k, next int
	var failed error
	if err := s.inbox.do(ctx, func(s *Shard) { k, failed = s.startCapture(t, c.Filter) }); err != nil {
		return err
	}
	for failed == nil && len(c.Filter.Streams) > 0 {
		if err := s.inbox.do(ctx, func(s *Shard) { next = s.markCapture(k, t, next) }); err != nil {
			return err
		}
		if next == 0 {
			break
		}
	}
	return failed
}

// leaveCapture ends a capture on one shard. Any goroutine may call it.
func (s *Shard) leaveCapture(t *capture.Tap) {
	var k, next int
	var found bool
	for again := t != nil && s.inbox.doAlways(func(s *Shard) { k, found = s.captures.stop(t) }) && found; again; again = next != 0 {
		if !s.inbox.doAlways(func(s *Shard) { next = s.unmarkCapture(k, next) }) {
			return
		}
	}
}
