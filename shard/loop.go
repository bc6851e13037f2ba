package shard

import (
	"fmt"
	"runtime"
	"time"

	"srtrelay/udp"
	"srtrelay/wire"
)

// scratchSize holds the relay's own datagrams of one turn; when it is full the
// outboxes are flushed early.
const scratchSize = 64 << 10

// owedRetry is how soon a busy balancer is offered a lease again.
const owedRetry = 20 * time.Millisecond

// run is the shard's life. The thread stays locked until it ends, so a pinned
// thread is never handed to another goroutine.
func (s *Shard) run() {
	runtime.LockOSThread()
	defer s.recovered()
	s.pin()
	udp.SharpenTimers()
	udp.PreferThread()
	for !s.stopping {
		busy := s.turn()
		s.stalls.due = s.now // at once; wait may say otherwise
		switch {
		case s.stopping:
		case busy:
			s.pace()
		default:
			s.wait()
		}
	}
	s.finish()
}

// pace chooses between receiving again at once, letting datagrams gather
// first, and asking the poller.
func (s *Shard) pace() {
	if s.more {
		return // a full batch: there is more to fetch
	}
	now := time.Since(s.origin)
	d, worth := s.gather.wait(now)
	switch {
	case !worth:
		s.wait()
	case d > 0:
		s.counters.inc(Gatherings)
		s.budget.waits(now)
		s.poller.Pause(d)
	}
}

func (s *Shard) pin() {
	if len(s.cfg.CPUs) == 0 {
		return
	}
	cpu := s.cfg.CPUs[s.id%len(s.cfg.CPUs)]
	if err := udp.PinThread(cpu); err != nil {
		s.cfg.Log.Warn("shard not pinned", "shard", s.id, "cpu", cpu, "error", err)
	}
}

// turn does what there is to do and reports whether it received anything. If
// so the next turn looks at every socket without asking the poller: an empty
// receive call is cheaper than a poll, and under load the loop never polls.
func (s *Shard) turn() bool {
	s.now = time.Since(s.origin)
	gap, stalled := s.stalls.begin(s.now)
	if stalled {
		s.resume()
	}
	s.budget.begin(s.now, s.counters.local[ForwardedToBackendBytes]+s.counters.local[ForwardedToCallerBytes], s.counters.local[Handshakes])
	s.gather.begin(s.now, s.counters.local[ReceivedFront]+s.counters.local[ReceivedBack])
	s.more = false
	s.snapshot = s.cfg.Registry.Snapshot()
	s.counters.inc(Turns)
	s.openInbox()
	busy := false
	if gap < backlogAfter {
		busy = s.receiveHot(false)
	} else {
		busy = s.readBacklog(max(backlogReads/s.batch.Len(), 1))
	}
	// Before the timers: these judge by what the suspects did.
	s.readErrors()
	s.watchSuspects()
	s.wheel.Advance(s.now, timersPerTurn, s.fire)
	if left := s.endLost(); s.leaving && s.stopSlice(left) {
		s.stopping = true
	}
	s.payOwed()
	s.sumUpRates()
	s.sizeBatch()
	s.flush()
	s.taps.commit()
	s.gauge()
	s.counters.publish()
	if busy {
		s.links(func(l *link, _ int) { l.hot = true })
	}
	return busy
}

// wait sleeps until a socket is readable, the inbox is rung or a timer is due.
func (s *Shard) wait() {
	timeout := time.Duration(-1)
	s.stalls.due = never
	if due, ok := s.nextDue(); ok {
		timeout = max(due-time.Since(s.origin), 0)
		s.stalls.due = max(due, s.now)
	}
	s.counters.inc(Waits)
	s.budget.waits(time.Since(s.origin))
	if err := s.poller.Wait(timeout); err != nil {
		s.breakDown(fmt.Errorf("shard %d: poll: %w", s.id, err))
		return
	}
	s.links(func(l *link, i int) {
		l.hot = s.poller.Readable(i)
		l.faulty = l.faulty || s.poller.Errored(i)
	})
}

// links calls fn for every socket with its index in the poller.
func (s *Shard) links(fn func(l *link, i int)) {
	for i := range s.fronts {
		fn(&s.fronts[i], i)
	}
	for i := range s.backs {
		fn(&s.backs[i], len(s.fronts)+i)
	}
}

// nextDue returns when the loop must run though nothing arrives.
func (s *Shard) nextDue() (time.Duration, bool) {
	if s.leaving || len(s.dying) > 0 {
		return s.now, true // the next slice
	}
	due, ok := s.wheel.Next()
	for _, p := range s.suspects {
		if !ok || p.nextProbe < due {
			due, ok = p.nextProbe, true
		}
	}
	if later := s.ratesAt + ratesEvery; len(s.peers) > 0 && (!ok || later < due) {
		due, ok = later, true
	}
	if later, shrinks := s.sizing.due(); shrinks && (!ok || later < due) {
		due, ok = later, true
	}
	if later := s.now + owedRetry; len(s.owed) > 0 && (!ok || later < due) {
		due, ok = later, true
	}
	return due, ok
}

// receiveAll takes what one receive call brings and reports whether that was
// anything.
func (s *Shard) receiveAll(l *link) bool {
	n := s.receive(l)
	for i := range n {
		d := s.batch.At(i)
		if d.Truncated {
			received, _ := l.side.received()
			s.counters.inc(received)
			s.counters.inc(DropTruncated)
			continue
		}
		if l.side == backSide && len(s.suspects) > 0 {
			s.clearSuspect(d.From)
		}
		s.takeMessage(l, &d, i)
	}
	s.flush()
	s.takeLate(l)
	return n > 0
}

// takeMessage takes what one message of the batch holds, except handshakes
// with a listener: running sessions go first.
func (s *Shard) takeMessage(l *link, d *udp.Datagram, i int) {
	late := false
	for rest := d.Data; ; {
		var segment []byte
		segment, rest = cut(rest, d.Stride)
		if l.side == frontSide && toNobody(segment) {
			late = true
		} else {
			s.counters.inc(s.take(l, d, segment))
		}
		if len(rest) == 0 {
			break
		}
	}
	if late {
		s.late = append(s.late, i)
	}
}

// takeLate takes the handshakes that takeMessage has left. They belong to no
// session, whose order is as it was.
func (s *Shard) takeLate(l *link) {
	if len(s.late) == 0 {
		return
	}
	for _, i := range s.late {
		d := s.batch.At(i)
		for rest := d.Data; len(rest) > 0; {
			var segment []byte
			segment, rest = cut(rest, d.Stride)
			if toNobody(segment) {
				s.counters.inc(s.take(l, &d, segment))
			}
		}
	}
	s.late = s.late[:0]
	s.flush()
}

// toNobody reports whether a datagram is addressed to a listener and not to a
// session.
func toNobody(b []byte) bool { return len(b) >= wire.HeaderSize && wire.Packet(b).DestID() == 0 }

// take counts one datagram in and returns its fate.
func (s *Shard) take(l *link, d *udp.Datagram, b []byte) Counter {
	datagrams, bytes := l.side.received()
	s.counters.inc(datagrams)
	s.counters.add(bytes, uint64(len(b)))
	switch {
	case len(b) < wire.HeaderSize:
		return DropShort
	case l.side == frontSide:
		return s.fromCaller(l.index, d, b)
	}
	return s.fromBackend(l.index, d, b)
}

// cut parts the first datagram of a train from the rest. A capped capacity
// keeps an append from running into the neighbour.
func cut(train []byte, stride int) (segment, rest []byte) {
	n := min(stride, len(train))
	return train[:n:n], train[n:]
}

// receive fills the batch from one socket and returns the number of messages.
func (s *Shard) receive(l *link) int {
	n, err := s.batch.Receive(l.sock)
	s.counters.inc(ReceiveCalls)
	s.more = s.more || n == s.batch.Len()
	s.sizing.peak = max(s.sizing.peak, n)
	if err != nil {
		s.breakDown(fmt.Errorf("shard %d: receive on %s: %w", s.id, l.sock.Local(), err))
	}
	return n
}

// flush sends what the outboxes hold; only then may the batch and the scratch
// space be used again.
func (s *Shard) flush() {
	s.links(s.flushLink)
	s.scratch = s.scratch[:0]
}

func (s *Shard) flushLink(l *link, _ int) {
	if l.out.Pending() > 0 {
		l.out.Flush()
	}
	o := l.out.Outcome()
	c := &s.counters
	c.add(Sent, o.Sent)
	c.add(SentBytes, o.SentBytes)
	c.add(SendCalls, o.Calls)
	c.add(SendBufferFull, o.BufferFull)
	c.add(SendTooBig, o.TooBig)
	c.add(SendUnreachable, o.Unreachable)
	c.add(SendFailed, o.Failed)
	c.add(OffloadLost, o.OffloadLost)
	l.faulty = l.faulty || l.sock.ErrorsPending()
}

// room returns scratch space for one datagram, which stays valid until the
// outboxes are flushed; what is appended to it is kept by made.
func (s *Shard) room() []byte {
	if cap(s.scratch)-len(s.scratch) < wire.MaxPayload {
		s.flush()
	}
	return s.scratch[len(s.scratch):]
}

// made keeps what was appended to room and returns it.
func (s *Shard) made(b []byte) []byte {
	s.scratch = s.scratch[:len(s.scratch)+len(b)]
	return b
}

// openInbox runs what other goroutines have posted.
func (s *Shard) openInbox() {
	letters := s.inbox.take(s.letters)
	if letters == nil {
		return
	}
	for _, l := range letters {
		l(s)
	}
	clear(letters)
	s.letters = letters
}

func (s *Shard) gauge() {
	c := &s.counters
	c.local[Sessions] = uint64(s.sessions.live)
	c.local[HalfOpen] = uint64(s.halfOpen)
	c.local[Tombstones] = uint64(s.tombs)
	c.local[BatchBytes] = uint64(s.batch.Bytes())
}
