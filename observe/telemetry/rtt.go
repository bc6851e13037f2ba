package telemetry

import "time"

// ackTimeout is how long an ACK waits for its ACKACK: longer than any path that a live
// stream can use.
const ackTimeout = 3 * time.Second

// ackTimer measures the RTT between the relay and a way's sender: from an ACK that is
// forwarded to it until its ACKACK comes back.
//
// It times all of the last ACKs, which is the last 80 ms with libsrt, and a few older
// ones: so a long path has some samples per round trip, and ACKs without an answer do
// not occupy all places.
type ackTimer struct {
	rtt, rttVar uint32 // microseconds; first, next to what else a report is made of
	timed       bool
	turn        uint8 // the place in recent that is next
	recent      [8]ackTime
	kept        [4]ackTime
}

// ackTime is an ACK without an ACKACK yet. at is in microseconds, which wrap, and 0 in a
// free place.
type ackTime struct{ number, at uint32 }

// stamp returns the time for an ackTime, which is never 0.
func stamp(now time.Duration) uint32 { return uint32(now/time.Microsecond) | 1 }

// ackForwarded notes that an ACK is forwarded to the sender.
func (a *ackTimer) ackForwarded(now time.Duration, number uint32) {
	if number == 0 || a.find(number) != nil {
		return // without a number, or a duplicate
	}
	at := stamp(now)
	w := &a.recent[a.turn]
	a.turn = (a.turn + 1) % uint8(len(a.recent))
	if w.at != 0 {
		for i := range a.kept {
			if p := &a.kept[i]; p.at == 0 || at-p.at > uint32(ackTimeout/time.Microsecond) {
				*p = *w
				break
			}
		}
	}
	*w = ackTime{number, at}
}

func (a *ackTimer) find(number uint32) *ackTime {
	for i := range a.recent {
		if w := &a.recent[i]; w.at != 0 && w.number == number {
			return w
		}
	}
	for i := range a.kept {
		if w := &a.kept[i]; w.at != 0 && w.number == number {
			return w
		}
	}
	return nil
}

// ackackReceived handles an ACKACK. Earlier ACKs get no answer any more: they or their
// answers are lost.
func (a *ackTimer) ackackReceived(now time.Duration, number uint32) {
	w := a.find(number)
	if w == nil {
		return
	}
	us := stamp(now) - w.at
	for i := range a.recent {
		a.recent[i].expire(number)
	}
	for i := range a.kept {
		a.kept[i].expire(number)
	}
	if us <= uint32(ackTimeout/time.Microsecond) {
		a.sample(us)
	}
}

func (w *ackTime) expire(number uint32) {
	if int32(w.number-number) <= 0 {
		w.at = 0
	}
}

// sample smooths as libsrt does: 7/8 of the old RTT, 3/4 of the old variance.
func (a *ackTimer) sample(us uint32) {
	if !a.timed {
		a.rtt, a.rttVar, a.timed = us, us/2, true
		return
	}
	off := max(us, a.rtt) - min(us, a.rtt)
	a.rttVar = (3*a.rttVar + off) / 4
	a.rtt = (7*a.rtt + us) / 8
}
