package shard

import (
	"fmt"
	"runtime/debug"

	"srtrelay/backend"
	"srtrelay/handshake"
)

const (
	// endsPerTurn bounds how many sessions a turn ends when many end at once:
	// when a backend dies, or the relay stops. Each costs two SHUTDOWNs and an
	// event, some 4 microseconds, so that a turn takes 2 ms more than usual and
	// the datagrams of other sessions go on.
	endsPerTurn = 512
	// looksPerTurn bounds how many places of the store a turn looks at to find
	// them.
	looksPerTurn = 16 * endsPerTurn
)

// PanicError says that a shard's loop has panicked.
type PanicError struct {
	Shard int
	Value any
	Stack []byte
}

// Error implements error. It leaves out the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("shard %d: panic: %v", e.Shard, e.Value) }

// breakDown ends the loop for good. The flows that the kernel gives to this
// shard would vanish, so the whole relay must end, and be started again. The
// sessions are told when the turn is over.
func (s *Shard) breakDown(err error) {
	s.stopping = true
	s.report(err)
}

// report tells the group why this shard cannot go on.
func (s *Shard) report(err error) {
	select {
	case s.broken <- err:
	default: // another shard was first
	}
}

// recovered is deferred by run. After a panic nothing of the shard's state can
// be relied on: it is not touched any more. The sockets stay open until the
// other loops have ended, because closing one would move the flows of the
// others (see Group).
func (s *Shard) recovered() {
	v := recover()
	if v == nil {
		return
	}
	s.report(&PanicError{Shard: s.id, Value: v, Stack: debug.Stack()})
	s.inbox.abandon()
}

// stop has the loop end all sessions, so many a turn, and then itself. Loop
// only.
func (s *Shard) stop() { s.draining, s.leaving = true, true }

// stopSlice ends the next sessions, at most so many, of a shard that stops. It
// reports whether none is left.
func (s *Shard) stopSlice(most int) (done bool) {
	all := uint64(len(s.sessions.chunks)) << chunkBits
	for ended, looks := 0, 0; s.stopNext < all && ended < most && looks < looksPerTurn; looks++ {
		i := uint32(s.stopNext)
		s.stopNext++
		switch ss := s.sessions.at(i); ss.state {
		case established:
			s.end(i, ss, Stopped)
			ended++
		case resolving, connecting:
			s.fail(i, ss, handshake.CodeDown, backend.Unused)
			ended++
		}
	}
	return s.stopNext == all
}

// finish is the end of a loop. It tells the sessions that were not told, which
// there are when the loop broke down.
func (s *Shard) finish() {
	s.draining = true
	for !s.stopSlice(endsPerTurn) {
		s.flush()
	}
	s.flush()
	s.sessions.all(func(i uint32, ss *Session) {
		if ss.state == rejected || ss.state == closing {
			s.forget(i, ss)
		}
	})
	for _, l := range s.inbox.close() {
		l(s)
	}
	s.inbox.abandon()
	s.payOwed()
	s.taps.end()
	s.sumUpQueues() // the last drops
	s.gauge()
	s.counters.publish()
}

// closeSockets closes what the shard holds of the kernel's. Its loop must have
// ended: nobody else can be reading a socket.
func (s *Shard) closeSockets() {
	s.links(func(l *link, _ int) { _ = l.sock.Close() })
	_ = s.poller.Close()
	_ = s.batch.Close()
}

// close frees what the shard holds.
func (s *Shard) close() {
	s.finish()
	s.closeSockets()
}
