package shard

import (
	"slices"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/wire"
)

// The bug: timers ran before what had arrived during a stall of the loop was
// read, and took the stall for the backend's silence.
func TestStallEndsNoSession(t *testing.T) {
	for _, length := range []time.Duration{4 * time.Second, 7 * time.Second, 40 * time.Second} {
		t.Run(length.String(), func(t *testing.T) {
			r := newRig(t)
			r.establish(r.caller, callerID, callerISN, backendID)
			other := r.dialFront()
			upstream := r.establish(other, callerID+1, callerISN, backendID+1)
			for _, c := range []struct {
				caller uint32
				to     []byte
			}{{callerID, packet(backendID, 60)}, {callerID + 1, packet(backendID+1, 60)}} {
				if c.caller == callerID {
					r.send(r.caller, c.to) // the backend has not answered it
				} else {
					r.send(other, c.to)
				}
			}
			r.drain(r.backend)
			// The backlog: both callers sent on. Of what the backend said to
			// the second one there was no room.
			must(t, r.caller, packet(backendID, 60))
			must(t, other, packet(backendID+1, 60))
			mustTo(t, r.backend, packet(callerID, 60), upstream)
			r.stall(length)
			if n := r.drain(r.backend); n != 2 {
				t.Errorf("the backend received %d datagrams of the backlog, want 2", n)
			}
			if n := r.count(CountTombstones); n != 0 || len(r.balancer.unreachable) != 0 {
				t.Errorf("%d sessions ended, %v in doubt, want none: %v", n, r.balancer.unreachable, r.nonzero())
			}
			if r.count(CountStalls) != 1 {
				t.Errorf("%d stalls counted, want 1", r.count(CountStalls))
			}
			// Who is silent beyond the stall is found.
			for range 10 {
				r.send(other, packet(backendID+1, 60))
				r.reply(upstream, packet(callerID, 60))
				r.pass(time.Second)
			}
			r.drain(r.backend)
			if n := r.count(CountSessions); n != 1 || len(r.balancer.unreachable) != 1 {
				t.Errorf("%d sessions left, %v in doubt, want one each: %v", n, r.balancer.unreachable, r.nonzero())
			}
		})
	}
}

// A backend's answer that waited in the socket comes before the deadline of
// its handshake, and a stall costs no handshake the rest of its time.
func TestStallDuringHandshake(t *testing.T) {
	t.Run("the answer waits", func(t *testing.T) {
		r := newRig(t)
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
		h, upstream := r.answerInduction()
		mustTo(t, r.backend, accept(h, backendID), upstream)
		r.stall(2500 * time.Millisecond)
		r.expect(r.caller, wire.HandshakeConclusion)
	})
	t.Run("the answer comes after it", func(t *testing.T) {
		r := newRig(t)
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
		r.balancer.err = backend.ErrNone
		h, upstream := r.answerInduction()
		r.stall(2300 * time.Millisecond)
		r.reply(upstream, accept(h, backendID))
		r.expect(r.caller, wire.HandshakeConclusion)
		if len(r.balancer.asked) != 1 {
			t.Errorf("another backend was asked for")
		}
	})
	t.Run("the caller has given up", func(t *testing.T) {
		r := newRig(t)
		r.send(r.caller, conclusion(callerID, callerISN, r.cookie(r.caller, callerID), 1))
		r.stall(handshake.AnswerDeadline)
		r.expect(r.caller, wire.HandshakeType(handshake.CodeDown))
		if len(r.balancer.unreachable) != 0 {
			t.Errorf("%v in doubt, want none: the relay was stopped", r.balancer.unreachable)
		}
	})
}

// A suspect's answers may have found no room during a stall: it is probed anew.
func TestStallClearsNoSuspect(t *testing.T) {
	r := newRig(t)
	upstream := r.establish(r.caller, callerID, callerISN, backendID)
	p := r.peers.byAddr[fromConn(r.backend)]
	p.suspect, p.suspectSince = true, r.now
	r.peers.suspects = append(r.peers.suspects, p)
	for range len(probeAfter) {
		r.sendProbe(p)
	}
	r.stall(3 * time.Second)
	if r.count(CountBackendsLost) != 0 || !p.suspect {
		t.Fatalf("lost after a stall: %v", r.nonzero())
	}
	r.reply(upstream, packet(callerID, 20))
	if p.suspect {
		t.Error("still a suspect after it spoke")
	}
	// And one whose answer waits in the socket is none any more.
	r.peers.suspects, p.suspect, p.nextProbe = append(r.peers.suspects, p), true, 0
	p.probes = len(probeAfter)
	mustTo(t, r.backend, packet(callerID, 20), upstream)
	r.stall(3 * time.Second)
	if p.suspect || r.count(CountBackendsLost) != 0 {
		t.Errorf("suspect %v, %v", p.suspect, r.nonzero())
	}
}

// Timeouts count what was not stalled, over several stalls and more than are
// kept.
func TestTimesMoveOnByStalls(t *testing.T) {
	var st stalls
	st.due = never
	at := time.Duration(0)
	turn := func(gap time.Duration, stopped bool) {
		if st.due = never; stopped {
			st.due = at
		}
		at += gap
		if got, stalled := st.begin(at); got != gap || stalled != (stopped && gap >= minStall) {
			t.Fatalf("gap %v, stalled %v", got, stalled)
		}
	}
	turn(time.Second, false)
	turn(2*time.Second, true)       // 1 s to 3 s
	turn(time.Second, false)        // 4 s
	turn(3*time.Second, true)       // to 7 s
	turn(minStall-1, true)          // just busy
	for _, c := range [][2]float64{ // seconds
		{0, 0}, {0.5, 5.5}, {1, 6}, {2, 6}, {3, 6}, {3.5, 6.5}, {4, 7}, {6, 7}, {7, 7}, {7.1, 7.1},
	} {
		in, want := time.Duration(c[0]*1e9), time.Duration(c[1]*1e9)
		if got := st.extend(in); got != want {
			t.Errorf("%v moved to %v, want %v", in, got, want)
		}
	}
	for range 2 * maxStalls {
		turn(time.Second, true)
	}
	if got, want := st.extend(1), 1+maxStalls*time.Second; got != want {
		t.Errorf("moved by %v, want by the stalls kept, %v", got, want)
	}
}

// A flood cannot keep timers from firing: after a gap so much is read, and no
// more.
func TestBacklogIsBounded(t *testing.T) {
	r := newRig(t)
	for range 5 * r.batch.Len() {
		must(t, r.caller, packet(77, 20))
	}
	r.drainSockets(2)
	if n := r.counters.local[CountReceivedFront]; n != uint64(2*r.batch.Len()) {
		t.Errorf("%d datagrams received, want %d", n, 2*r.batch.Len())
	}
	r.drainSockets(100)
	if n := r.counters.local[CountReceivedFront]; n != uint64(5*r.batch.Len()) {
		t.Errorf("%d datagrams received, want all %d", n, 5*r.batch.Len())
	}
}

// Timers that are due at once fire over several turns, each once and in order.
func TestTimersFireInSlices(t *testing.T) {
	var w timerWheel
	const timers, slice = 1000, 64
	for i := range uint32(timers) {
		w.Set(i, time.Duration(i)*10*time.Millisecond)
	}
	var fired []uint32
	now := 20 * time.Second
	for turns := 0; w.pending > 0; turns++ {
		if due, ok := w.Next(); !ok || due > now {
			t.Fatalf("the rest is due at %v, want %v at the latest", due, now)
		}
		before := len(fired)
		w.Advance(now, slice, func(i uint32) {
			fired = append(fired, i)
			if i%2 == 0 { // set again, for later
				w.Set(i, now+time.Hour)
				w.Cancel(i)
			}
		})
		if n := len(fired) - before; n == 0 || n > slice || turns > timers/slice {
			t.Fatalf("turn %d fired %d, want 1 to %d", turns, n, slice)
		}
		now += 3 * time.Second
	}
	slices.Sort(fired)
	if len(slices.Compact(fired)) != timers {
		t.Errorf("%d timers fired, want %d", len(slices.Compact(fired)), timers)
	}
}
