package shard

import (
	"fmt"
	"runtime"
	"time"

	"srtrelay/udp"
	"srtrelay/wire"
)

// reportRetry is how soon outcomes are reported again to a resolver that was busy.
const reportRetry = 20 * time.Millisecond

// run is the shard's loop. The thread stays locked until it ends, so that a pinned
// thread is never given to another goroutine.
func (s *Shard) run() {
	runtime.LockOSThread()
	defer s.recoverPanic()
	s.pin()
	udp.SharpenTimers()
	udp.PreferThread()
	for !s.exiting {
		busy := s.turn()
		s.stalls.due = s.now // at once; wait may set it later
		switch {
		case s.exiting:
		case s.freeze != nil:
			s.park()
		case busy:
			s.pace()
		default:
			s.wait()
		}
	}
	if s.abandoned {
		s.leave()
		return
	}
	s.finish()
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

// turn is one round of the loop. It reports whether it received anything: then the next
// turn reads every socket without asking the poller, because an empty receive call
// is cheaper than a poll.
func (s *Shard) turn() bool { return s.turnAt(time.Since(s.origin)) }

// turnAt is turn at a time: all that a turn does happens then.
func (s *Shard) turnAt(now time.Duration) bool {
	s.now = now
	s.work.begins(s.now)
	gap, stalled := s.stalls.begin(s.now)
	if stalled {
		s.afterStall()
	}
	s.admission.budget.begin(s.now, s.counters.forwardedBytes(), s.counters.local[CountHandshakes])
	s.gather.begin(s.now, s.counters.received())
	s.batchFull = false
	s.snapshot = s.cfg.Registry.Snapshot()
	s.followStep()
	s.counters.inc(CountTurns)
	s.kernelTurn()
	s.runTasks()
	letters := s.readLetters()
	busy := false
	if gap < drainAfter && !s.drainFirst {
		busy = s.receiveReadable(false)
	} else {
		busy = s.drainSockets(max(drainLimit/s.batch.Len(), 1))
		s.drainFirst = false
	}
	// Before the timers, which depend on what the suspects did.
	s.readErrors()
	s.probeSuspects()
	s.wheel.Advance(s.now, timersPerTurn, s.onTimer)
	if left := s.endLostSlice(); s.endingSessions && s.stopSlice(left) {
		s.exiting = true
	}
	s.outcomes.retry()
	s.askAgain()
	s.measure()
	s.usageTurn()
	s.resizeBatch()
	s.flush()
	s.offerPending()
	s.captures.commit()
	s.updateGauges()
	s.counters.publish()
	if busy = busy || letters; busy {
		s.eachEndpoint(func(ep *endpoint, _ int) { ep.readable = true })
	}
	return busy
}

const (
	// drainAfter is the time between two turns after which the sockets are read
	// until they are empty before a timer may fire: datagrams that a timeout
	// would miss may be waiting there. It is longer than the delays of a busy
	// host's scheduler, and far below every timeout.
	drainAfter = 100 * time.Millisecond
	// drainLimit is the most messages to read from one socket then, so that a
	// flood cannot keep timers from firing. It is more than the default receive
	// buffer holds.
	drainLimit = 32768
	// minStall is the delay of a turn that counts as a stall: by SIGSTOP, a
	// debugger, or a host that gave the CPU to others.
	minStall = 250 * time.Millisecond
	// maxStalls is how many stalls are remembered. A stall matters for as long as
	// the longest timeout of a session.
	maxStalls = 16
)

// drainSockets receives from every socket until it is empty, with at most so many
// calls for each. It reports whether anything came.
func (s *Shard) drainSockets(calls int) (busy bool) {
	s.eachEndpoint(func(ep *endpoint, _ int) { ep.readable = true })
	for again := true; again && calls > 0; calls-- {
		again = s.receiveReadable(true)
		busy = busy || again
	}
	return busy
}

// receiveReadable receives once from every socket that may have datagrams, and reports
// whether one had. narrow marks those that had none as not readable.
func (s *Shard) receiveReadable(narrow bool) (busy bool) {
	for i := range s.fronts {
		busy = s.receiveIfReadable(&s.fronts[i], narrow) || busy
	}
	// By index: a handshake may open another upstream socket.
	for i := 0; i < len(s.backs); i++ {
		busy = s.receiveIfReadable(&s.backs[i], narrow) || busy
	}
	return busy
}

func (s *Shard) receiveIfReadable(ep *endpoint, narrow bool) bool {
	if !ep.readable || ep.closed {
		return false
	}
	got := s.receiveAndDispatch(ep)
	ep.readable = got || !narrow
	return got
}

// receiveAndDispatch makes one receive call and dispatches what it returned. It reports
// whether that was anything.
func (s *Shard) receiveAndDispatch(ep *endpoint) bool {
	n := s.receive(ep)
	for i := range n {
		d := s.batch.At(i)
		if d.Truncated {
			received, _ := ep.side.received()
			s.counters.inc(received)
			s.counters.inc(DropTruncated)
			continue
		}
		if ep.side == sideBack && len(s.peers.suspects) > 0 {
			s.peers.clearSuspect(s.now, d.From)
		}
		s.dispatchMessage(ep, &d, i)
	}
	s.flush()
	s.dispatchHandshakes(ep)
	return n > 0
}

// receive fills the batch from one socket and returns the number of messages.
func (s *Shard) receive(ep *endpoint) int {
	n, err := s.batch.Receive(ep.sock)
	s.counters.inc(CountReceiveCalls)
	s.batchFull = s.batchFull || n == s.batch.Len()
	s.sizing.peak = max(s.sizing.peak, n)
	if err != nil {
		s.abort(fmt.Errorf("shard %d: receive on %s: %w", s.id, ep.sock.Local(), err))
	}
	return n
}

// dispatchMessage dispatches the datagrams of one message of the batch, except
// handshakes with a listener: running sessions go first.
func (s *Shard) dispatchMessage(ep *endpoint, d *udp.Datagram, i int) {
	hasHandshake := false
	for rest := d.Data; ; {
		var segment []byte
		segment, rest = nextSegment(rest, d.Stride)
		if ep.side == sideFront && toListenerID(segment) {
			hasHandshake = true
		} else {
			s.counters.inc(s.dispatch(ep, d, segment))
		}
		if len(rest) == 0 {
			break
		}
	}
	if hasHandshake {
		s.handshakes = append(s.handshakes, i)
	}
}

// dispatchHandshakes dispatches the handshakes that dispatchMessage has left out. They
// belong to no session, so that the order within each session is unchanged.
func (s *Shard) dispatchHandshakes(ep *endpoint) {
	if len(s.handshakes) == 0 {
		return
	}
	for _, i := range s.handshakes {
		d := s.batch.At(i)
		for rest := d.Data; len(rest) > 0; {
			var segment []byte
			segment, rest = nextSegment(rest, d.Stride)
			if toListenerID(segment) {
				s.counters.inc(s.dispatch(ep, &d, segment))
			}
		}
	}
	s.handshakes = s.handshakes[:0]
	s.flush()
}

// toListenerID reports whether a datagram is addressed to a listener and not to a
// session.
func toListenerID(b []byte) bool { return len(b) >= wire.HeaderSize && wire.Packet(b).DestID() == 0 }

// nextSegment splits the first datagram off a train. Its capacity is limited, so that
// an append cannot overwrite the next one.
func nextSegment(train []byte, stride int) (segment, rest []byte) {
	n := min(stride, len(train))
	return train[:n:n], train[n:]
}

// dispatch counts and handles one datagram, and returns its fate.
func (s *Shard) dispatch(ep *endpoint, d *udp.Datagram, b []byte) Counter {
	datagrams, bytes := ep.side.received()
	s.counters.inc(datagrams)
	s.counters.add(bytes, uint64(len(b)))
	switch {
	case len(b) < wire.HeaderSize:
		return DropShort
	case ep.side == sideFront:
		return s.fromCaller(ep.index, d, b)
	}
	return s.fromBackend(ep.index, d, b)
}

// wait sleeps until a socket is readable, a task is posted or a timer is due.
func (s *Shard) wait() {
	timeout := time.Duration(-1)
	s.stalls.due = never
	if due, ok := s.nextDue(); ok {
		timeout = max(due-time.Since(s.origin), 0)
		s.stalls.due = max(due, s.now)
	}
	s.counters.inc(CountWaits)
	s.beginWait(time.Since(s.origin))
	if err := s.poller.Wait(timeout); err != nil {
		s.abort(fmt.Errorf("shard %d: poll: %w", s.id, err))
		return
	}
	s.eachEndpoint(func(ep *endpoint, i int) {
		ep.readable = s.poller.Readable(i)
		ep.hasErrors = ep.hasErrors || s.poller.Errored(i)
	})
}

// beginWait notes that the loop waits from now on.
func (s *Shard) beginWait(now time.Duration) {
	s.admission.budget.waits(now)
	s.work.waits(now)
}

// eachEndpoint calls fn for every endpoint with its index in the poller.
func (s *Shard) eachEndpoint(fn func(ep *endpoint, i int)) {
	for i := range s.fronts {
		fn(&s.fronts[i], i)
	}
	for i := range s.backs {
		fn(&s.backs[i], len(s.fronts)+i)
	}
}

// nextDue returns when the loop must run though nothing arrives.
func (s *Shard) nextDue() (time.Duration, bool) {
	if s.endingSessions || len(s.peers.ending) > 0 {
		return s.now, true // the next slice
	}
	due, ok := s.wheel.Next()
	sooner := func(at time.Duration, runs bool) {
		if runs && (!ok || at < due) {
			due, ok = at, true
		}
	}
	for _, p := range s.peers.suspects {
		sooner(p.nextProbe, true)
	}
	// Also once after the last datagrams: the kernel may have dropped others then.
	sooner(s.peers.ratesAt+ratesEvery, len(s.peers.byAddr) > 0 || s.receivedAtRates != s.counters.received())
	sooner(s.kernelDue())
	sooner(s.usageDue())
	sooner(s.sizing.due())
	sooner(s.now+gapSliceEvery, s.endsGap())
	sooner(s.now+reportRetry, len(s.outcomes.unreported) > 0 || len(s.unasked) > 0)
	return due, ok
}
