package telemetry

import (
	"testing"
	"time"

	"srtrelay/wire"
)

func ackack(number uint32) wire.Packet { return controlOf(wire.TypeACKACK, 0, number, 0) }

func (r *rig) wantRTT(t *testing.T, want time.Duration) {
	t.Helper()
	q := r.quality()
	if off := (q.RTT - want).Abs(); !q.Timed || off > 20*time.Microsecond {
		t.Errorf("RTT %v (%v), want %v", q.RTT, q.Timed, want)
	}
}

// play sends full ACKs every 10 ms along a path with a round trip, and loses
// those whose number is in lost, or their answers.
func (r *rig) play(n int, rtt time.Duration, lost func(number uint32) bool) {
	type answer struct {
		at     time.Duration
		number uint32
	}
	var due []answer
	for i := range n {
		number := uint32(i + 1)
		for len(due) > 0 && due[0].at <= r.now {
			clock := r.now
			r.now = due[0].at
			r.see(ToBackend, ackack(due[0].number))
			r.now, due = clock, due[1:]
		}
		r.see(ToCaller, fullACK(number))
		if !lost(number) {
			due = append(due, answer{r.now + rtt, number})
		}
		r.now += 10 * time.Millisecond
	}
}

func never(uint32) bool { return false }

func TestRTT(t *testing.T) {
	for _, rtt := range []time.Duration{
		100 * time.Microsecond, 5 * time.Millisecond, 45 * time.Millisecond, 333 * time.Millisecond, 2 * time.Second,
	} {
		for name, lost := range map[string]func(uint32) bool{
			"none lost":             never,
			"a third lost":          func(n uint32) bool { return n%3 == 0 },
			"most are, nine in ten": func(n uint32) bool { return n%10 != 0 },
		} {
			r := newRig(firstSeq)
			r.play(1000, rtt, lost)
			r.wantRTT(t, rtt)
			if q := r.quality(); q.Timed && q.RTTVar > rtt/2 {
				t.Errorf("%v, %s: variance %v of a steady path", rtt, name, q.RTTVar)
			}
		}
	}
}

// The clock of the ACKs wraps every 71 minutes.
func TestRTTAroundTheEndOfTheClock(t *testing.T) {
	r := newRig(firstSeq)
	r.now = (1<<32)*time.Microsecond - 500*time.Millisecond
	r.play(100, 30*time.Millisecond, never)
	r.wantRTT(t, 30*time.Millisecond)
}

func TestRTTSmooths(t *testing.T) {
	r := newRig(firstSeq)
	step := func(number uint32, rtt time.Duration) {
		r.see(ToCaller, fullACK(number))
		r.now += rtt
		r.see(ToBackend, ackack(number))
	}
	step(1, 80*time.Millisecond)
	r.wantRTT(t, 80*time.Millisecond)
	step(2, 160*time.Millisecond)
	r.wantRTT(t, 90*time.Millisecond)
	if q := r.quality(); (q.RTTVar - 50*time.Millisecond).Abs() > 20*time.Microsecond {
		t.Errorf("variance %v, want 50ms", q.RTTVar)
	}
}

// Only the answer to an ACK is a measure, and only the first.
func TestAnswersThatMeanNothing(t *testing.T) {
	r := newRig(firstSeq)
	r.see(ToBackend, ackack(5))
	r.see(ToCaller, controlOf(wire.TypeACK, 0, 0, 1)) // lite
	r.see(ToCaller, fullACK(0))
	r.now += 10 * time.Millisecond
	r.see(ToBackend, ackack(0))
	if r.quality().Timed {
		t.Errorf("RTT %v of nothing", r.quality().RTT)
	}
	for range 20 { // copies
		r.see(ToCaller, fullACK(6))
		r.now += time.Millisecond
	}
	r.see(ToBackend, ackack(6))
	r.now += time.Second
	r.see(ToBackend, ackack(6))
	r.wantRTT(t, 20*time.Millisecond)
	r.see(ToCaller, fullACK(7))
	r.now += ackTimeout + time.Second
	r.see(ToBackend, ackack(7)) // too late to be true
	r.wantRTT(t, 20*time.Millisecond)
}

// ACKs that are never answered hold their places for a while only.
func TestUnansweredACKs(t *testing.T) {
	r := newRig(firstSeq)
	for n := range uint32(100) {
		r.see(ToCaller, fullACK(1<<30+n))
	}
	r.now += ackTimeout + time.Second
	r.play(10, 5*time.Millisecond, never)
	r.wantRTT(t, 5*time.Millisecond)
}
