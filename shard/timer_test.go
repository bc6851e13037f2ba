package shard

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// The wheel against a map of due times, under random sets and cancels, steps
// of all lengths and timers far beyond the horizon.
func TestWheelAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var w timerWheel
	model := map[uint32]time.Duration{}
	now := time.Duration(0)
	for step := range 20_000 {
		switch i := uint32(random.IntN(200)); random.IntN(4) {
		case 0, 1:
			due := now + time.Duration(random.Int64N(int64(30*time.Second))) - time.Second
			w.Set(i, due)
			model[i] = due
		case 2:
			if int(i) < w.timers.Len() {
				w.Cancel(i)
				delete(model, i)
			}
		case 3:
			if next, ok := w.Next(); ok != (len(model) > 0) {
				t.Fatalf("step %d: Next says %v with %d timers set", step, ok, len(model))
			} else if ok {
				checkNext(t, step, next, now, model)
			}
			now += time.Duration(random.Int64N(int64(100 * time.Millisecond)))
			if random.IntN(50) == 0 {
				now += time.Duration(random.Int64N(int64(20 * time.Second))) // a long sleep
			}
			advance(t, step, &w, now, model)
		}
		if w.pending != len(model) {
			t.Fatalf("step %d: %d pending, want %d", step, w.pending, len(model))
		}
	}
}

// checkNext: Next may be early, never later than the tick at which the first
// timer fires.
func checkNext(t *testing.T, step int, next, now time.Duration, model map[uint32]time.Duration) {
	t.Helper()
	first := time.Duration(1<<63 - 1)
	for _, due := range model {
		first = min(first, max(due, now)) // set in the past, it fires on the next tick
	}
	if next >= first+2*wheelTick {
		t.Fatalf("step %d: Next %v, but a timer is due at %v", step, next, first)
	}
}

// advance fires what is due and compares with the model: nothing early, and
// nothing due for more than a tick left behind.
func advance(t *testing.T, step int, w *timerWheel, now time.Duration, model map[uint32]time.Duration) {
	t.Helper()
	w.Advance(now, timersPerTurn, func(i uint32) {
		due, ok := model[i]
		if !ok || due > now {
			t.Fatalf("step %d: timer %d fired at %v, due %v (set: %v)", step, i, now, due, ok)
		}
		delete(model, i)
	})
	for i, due := range model {
		// A due time in the past when it was set waits for the next tick.
		if due <= now-2*wheelTick && w.timers.At(i).due <= int64(now/wheelTick) {
			t.Fatalf("step %d: timer %d, due %v, has not fired at %v", step, i, due, now)
		}
	}
}

func TestWheelNeverFiresEarly(t *testing.T) {
	var w timerWheel
	due := 5*wheelTick + 1
	w.Set(0, due)
	fired := false
	w.Advance(due-1, timersPerTurn, func(uint32) { fired = true })
	if fired {
		t.Fatal("fired before its time")
	}
	w.Advance(due+wheelTick, timersPerTurn, func(uint32) { fired = true })
	if !fired {
		t.Fatal("did not fire")
	}
}

// A timer may re-arm itself and others, cancel others and do so for the very
// slot that is being fired.
func TestWheelFireChangesTimers(t *testing.T) {
	var w timerWheel
	for i := range uint32(4) {
		w.Set(i, 10*wheelTick)
	}
	var fired []uint32
	w.Advance(10*wheelTick, timersPerTurn, func(i uint32) {
		fired = append(fired, i)
		switch i {
		case 3: // fired first: the slot is last in, first out
			w.Cancel(1)
			w.Set(3, 0) // in the past: next tick, not this one
		case 2:
			w.Set(0, 20*wheelTick)
		}
	})
	if !slices.Equal(fired, []uint32{3, 2}) {
		t.Errorf("fired %v, want [3 2]", fired)
	}
	fired = nil
	w.Advance(20*wheelTick, timersPerTurn, func(i uint32) { fired = append(fired, i) })
	if !slices.Equal(fired, []uint32{3, 0}) {
		t.Errorf("then fired %v, want [3 0]", fired)
	}
	if _, ok := w.Next(); ok {
		t.Error("the empty wheel has a next timer")
	}
}

// Timers that are cancelled while their slot is fired leave their places to others.
func TestWheelFiresTheRestOfASlot(t *testing.T) {
	var w timerWheel
	for i := range uint32(5) {
		w.Set(i, 10*wheelTick)
	}
	var fired []uint32
	fire := func(i uint32) {
		fired = append(fired, i)
		if i == 4 {
			w.Cancel(3)
			w.Cancel(2)
		}
	}
	w.Advance(10*wheelTick, 3, fire)
	w.Advance(10*wheelTick, 3, fire)
	if !slices.Equal(fired, []uint32{4, 1, 0}) {
		t.Errorf("fired %v, want [4 1 0]", fired)
	}
}

func TestWheelDoesNotAllocate(t *testing.T) {
	var w timerWheel
	w.Set(100, time.Second)
	now := time.Duration(0)
	fire := func(i uint32) { w.Set(i, now+time.Second) }
	if n := testing.AllocsPerRun(1000, func() {
		now += 50 * time.Millisecond
		w.Set(7, now+time.Second)
		w.Advance(now, timersPerTurn, fire)
		w.Next()
	}); n != 0 {
		t.Errorf("%v allocations per turn", n)
	}
}
