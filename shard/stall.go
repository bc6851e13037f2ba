package shard

import "time"

const (
	// backlogAfter is the time between two turns after which the sockets are
	// read until they are empty before a timer may fire: what a timer would
	// miss may be waiting there. It is above what a busy host's scheduler makes
	// of a turn, and far below every timeout.
	backlogAfter = 100 * time.Millisecond
	// backlogReads bounds that, in messages per socket, so that a flood cannot
	// keep timers from firing: the default receive buffer has room for 22,000
	// datagrams of the smallest kind.
	backlogReads = 32768
	// stallLeast is by how much a turn that begins late shows that the loop was
	// stopped: by SIGSTOP, a debugger, or a host that gave its CPU to others.
	stallLeast = 250 * time.Millisecond
	// stallsKept is how many stalls are remembered. They matter for as long as
	// the longest timeout of a session.
	stallsKept = 16
)

// stalls are the times during which the loop did not run and should have. What
// happened then is nobody's silence: no timeout counts it.
type stalls struct {
	lastTurn time.Duration // the last turn began
	// due is when the next turn was to begin at the latest; never, when only a
	// datagram or a letter could begin it.
	due   time.Duration
	kept  [stallsKept]stall // a ring
	count int
	total time.Duration
}

type stall struct{ end, length time.Duration }

// begin notes a turn that begins at now. It returns the time since the last
// one, and whether the loop was stopped for it.
//
// The whole time counts, though the loop may have slept in the poller first:
// what stopped it may have done so at the beginning of that sleep. With sessions
// the loop never sleeps for longer than ratesEvery.
func (st *stalls) begin(now time.Duration) (gap time.Duration, stalled bool) {
	gap = now - st.lastTurn
	st.lastTurn = now
	if now-st.due < stallLeast {
		return gap, false
	}
	st.kept[st.count%stallsKept] = stall{now, gap}
	st.count++
	st.total += gap
	return gap, true
}

// moved returns a time later by the stalls since: what a timeout counts from.
// 0, which stands for no time, stays 0.
func (st *stalls) moved(t time.Duration) time.Duration {
	if t == 0 {
		return 0
	}
	by := time.Duration(0)
	for k := st.count - 1; k >= 0 && k >= st.count-stallsKept; k-- {
		one := &st.kept[k%stallsKept]
		if one.end <= t {
			break
		}
		by += min(one.length, one.end-t)
	}
	return t + by
}

// resume has the suspects probed anew: their answers may have found no room
// while nobody received.
func (s *Shard) resume() {
	s.counters.inc(Stalls)
	for _, p := range s.suspects {
		p.since, p.probes, p.nextProbe, p.mute = s.now, 0, s.now, false
	}
}

// readBacklog receives from every socket until it is empty, with at most so
// many calls for each. It reports whether anything came.
func (s *Shard) readBacklog(calls int) (busy bool) {
	s.links(func(l *link, _ int) { l.hot = true })
	for again := true; again && calls > 0; calls-- {
		again = s.receiveHot(true)
		busy = busy || again
	}
	return busy
}

// receiveHot receives once from every socket that may have something, and
// reports whether one had. narrow leaves out those that had nothing the next
// time.
func (s *Shard) receiveHot(narrow bool) (busy bool) {
	for i := range s.fronts {
		busy = s.receiveFrom(&s.fronts[i], narrow) || busy
	}
	// By index: a handshake may open another upstream socket.
	for i := 0; i < len(s.backs); i++ {
		busy = s.receiveFrom(&s.backs[i], narrow) || busy
	}
	return busy
}

func (s *Shard) receiveFrom(l *link, narrow bool) bool {
	if !l.hot {
		return false
	}
	got := s.receiveAll(l)
	l.hot = got || !narrow
	return got
}
