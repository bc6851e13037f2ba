package shard

import (
	"math/bits"
	"time"

	"srtrelay/internal/chunks"
)

// timerWheel holds one timer per session, without a goroutine or an allocation for
// each. The loop advances it to the time of the turn. It belongs to one shard.
//
// It is a single level of slots, each a doubly linked list over the sessions'
// indices; a timer beyond the horizon stays in its slot for another round.
type timerWheel struct {
	slots   [wheelSlots]uint32 // index+1 of the first timer
	busy    [wheelSlots / 64]uint64
	timers  chunks.List[timer]
	tick    int64 // the next tick to fire
	pending int
	firing  []uint32 // of the slot that is being fired
}

type timer struct {
	next, prev uint32 // index+1
	due        int64  // tick; 0 when not set
}

const (
	// wheelTick is the resolution of every timeout, far below the shortest
	// retry.
	wheelTick = 8 * time.Millisecond
	// bundleEvery is what the times of regular work on sessions are multiples of, so that one
	// wake-up does for all of it: it costs as much as a hundred sessions.
	bundleEvery = 6 * wheelTick
	// wheelSlots puts the horizon beyond all timeouts but long idle ones.
	wheelSlots = 1024
	wheelMask  = wheelSlots - 1
	// timersPerTurn limits the timers that a turn fires when many are due at
	// once, as after a stall, to some 2 ms.
	timersPerTurn = 4096
)

// Set arms session index to fire at due, replacing what was set. A due time in
// the past fires on the next Advance.
func (w *timerWheel) Set(index uint32, due time.Duration) {
	w.timers.Extend(int(index) + 1)
	w.Cancel(index)
	// Rounded up, so that a timer never fires early.
	tick := max(int64((due+wheelTick-1)/wheelTick), w.tick, 1)
	t, at := w.timers.At(index), tick&wheelMask
	*t = timer{next: w.slots[at], due: tick}
	if t.next != 0 {
		w.timers.At(t.next - 1).prev = index + 1
	}
	w.slots[at] = index + 1
	w.busy[at/64] |= 1 << (at % 64)
	w.pending++
}

// Cancel disarms session index.
func (w *timerWheel) Cancel(index uint32) {
	t := w.timers.At(index)
	if t.due == 0 {
		return
	}
	at := t.due & wheelMask
	if t.prev != 0 {
		w.timers.At(t.prev - 1).next = t.next
	} else if w.slots[at] = t.next; t.next == 0 {
		w.busy[at/64] &^= 1 << (at % 64)
	}
	if t.next != 0 {
		w.timers.At(t.next - 1).prev = t.prev
	}
	*t = timer{}
	w.pending--
}

// Advance fires the timers that are due at now, at most so many; the rest is
// due at once. fire may set and cancel timers, its own included.
func (w *timerWheel) Advance(now time.Duration, most int, fire func(index uint32)) {
	last := int64(now / wheelTick)
	if w.pending == 0 {
		w.tick = max(w.tick, last+1)
		return
	}
	// After a long sleep each slot needs one visit only.
	first := max(w.tick, last-wheelMask)
	w.tick = last + 1
	for tick := first; tick <= last; tick++ {
		if most = w.fireSlot(tick&wheelMask, last, most, fire); most == 0 {
			w.tick = tick
			return
		}
	}
}

// fireSlot fires what is due in one slot and returns how many timers more may
// fire.
func (w *timerWheel) fireSlot(at, last int64, most int, fire func(index uint32)) int {
	for more := true; more && most > 0; {
		w.firing = w.firing[:0]
		for ref := w.slots[at]; ref != 0 && len(w.firing) < most; ref = w.timers.At(ref - 1).next {
			if w.timers.At(ref-1).due <= last {
				w.firing = append(w.firing, ref-1)
			}
		}
		more = len(w.firing) == most
		for _, index := range w.firing {
			// fire may have cancelled it, or set it: then it is due later.
			if due := w.timers.At(index).due; due != 0 && due <= last {
				w.Cancel(index)
				fire(index)
				most--
			}
		}
	}
	return most
}

// Next returns when Advance may have something to fire, or false when no timer
// is set. It may be early for a timer beyond the horizon, never late.
func (w *timerWheel) Next() (time.Duration, bool) {
	if w.pending == 0 {
		return 0, false
	}
	start := w.tick & wheelMask
	for i := int64(0); i <= wheelSlots/64; i++ {
		word := (start/64 + i) % (wheelSlots / 64)
		set := w.busy[word]
		if i == 0 {
			set &= ^uint64(0) << (start % 64)
		} else if i == wheelSlots/64 {
			set &= 1<<(start%64) - 1
		}
		if set != 0 {
			at := word*64 + int64(bits.TrailingZeros64(set))
			return time.Duration(w.tick+(at-start)&wheelMask) * wheelTick, true
		}
	}
	return 0, false
}

// stalls are the times during which the loop did not run though it should have.
// Timeouts leave them out, because the silence then was the relay's own.
type stalls struct {
	lastTurn time.Duration // when the last turn began
	// due is when the next turn is to begin at the latest; never, if only a
	// datagram or a task can begin it.
	due   time.Duration
	ring  [maxStalls]stall // a ring
	count int
	total time.Duration
}

type stall struct{ end, length time.Duration }

// begin notes a turn that begins at now. It returns the time since the last one, and
// whether that was a stall.
//
// The whole time counts, though the loop may have slept in the poller first: the
// stall may have begun with that sleep. With sessions the loop never sleeps for
// longer than ratesEvery.
func (st *stalls) begin(now time.Duration) (gap time.Duration, stalled bool) {
	gap = now - st.lastTurn
	st.lastTurn = now
	if now-st.due < minStall {
		return gap, false
	}
	st.ring[st.count%maxStalls] = stall{now, gap}
	st.count++
	st.total += gap
	return gap, true
}

// extend returns a time plus the stalls since: what a timeout counts from. 0, which
// stands for no time, stays 0.
func (st *stalls) extend(t time.Duration) time.Duration {
	if t == 0 {
		return 0
	}
	by := time.Duration(0)
	for k := st.count - 1; k >= 0 && k >= st.count-maxStalls; k-- {
		one := &st.ring[k%maxStalls]
		if one.end <= t {
			break
		}
		by += min(one.length, one.end-t)
	}
	return t + by
}

// afterStall has the suspects probed anew: during the stall their answers may have
// been dropped at a full receive buffer.
func (s *Shard) afterStall() {
	s.counters.inc(CountStalls)
	s.peers.restartProbes(s.now)
}
