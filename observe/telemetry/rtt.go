package telemetry

import "time"

// ackKept is how long an ACK may wait for its ACKACK: longer than any path on
// which a live stream is of use.
const ackKept = 3 * time.Second

// ackTimes measures the round trip between the relay and a way's sender: from
// an ACK that is forwarded to it until its ACKACK comes back.
//
// The last ACKs are all timed, which are 80 ms of them in libsrt. Of what goes
// on waiting only a few are, so that a long path has some samples per round
// trip, and ACKs that nobody answers do not take all places.
type ackTimes struct {
	recent      [8]ackTime
	patient     [4]ackTime
	rtt, rttVar uint32 // microseconds
	turn        uint8  // the place in recent that is next
	timed       bool
}

// ackTime is an ACK under way; at is 0 in a free place, and microseconds, which
// wrap, in others.
type ackTime struct{ number, at uint32 }

// stamp is a time in an ackTime: never 0.
func stamp(now time.Duration) uint32 { return uint32(now/time.Microsecond) | 1 }

// acknowledging notes that an ACK is forwarded.
func (a *ackTimes) acknowledging(now time.Duration, number uint32) {
	if number == 0 || a.find(number) != nil {
		return // not to be told from others, or a copy
	}
	at := stamp(now)
	w := &a.recent[a.turn]
	a.turn = (a.turn + 1) % uint8(len(a.recent))
	if w.at != 0 {
		for i := range a.patient {
			if p := &a.patient[i]; p.at == 0 || at-p.at > uint32(ackKept/time.Microsecond) {
				*p = *w
				break
			}
		}
	}
	*w = ackTime{number, at}
}

func (a *ackTimes) find(number uint32) *ackTime {
	for i := range a.recent {
		if w := &a.recent[i]; w.at != 0 && w.number == number {
			return w
		}
	}
	for i := range a.patient {
		if w := &a.patient[i]; w.at != 0 && w.number == number {
			return w
		}
	}
	return nil
}

// acknowledged takes an ACKACK. Earlier ACKs will not be answered any more:
// they or their answers are lost.
func (a *ackTimes) acknowledged(now time.Duration, number uint32) {
	w := a.find(number)
	if w == nil {
		return
	}
	us := stamp(now) - w.at
	for i := range a.recent {
		a.recent[i].overtake(number)
	}
	for i := range a.patient {
		a.patient[i].overtake(number)
	}
	if us <= uint32(ackKept/time.Microsecond) {
		a.sample(us)
	}
}

func (w *ackTime) overtake(number uint32) {
	if int32(w.number-number) <= 0 {
		w.at = 0
	}
}

// sample smooths as libsrt does: 7/8 of the old value, 3/4 of the old variance.
func (a *ackTimes) sample(us uint32) {
	if !a.timed {
		a.rtt, a.rttVar, a.timed = us, us/2, true
		return
	}
	off := max(us, a.rtt) - min(us, a.rtt)
	a.rttVar = (3*a.rttVar + off) / 4
	a.rtt = (7*a.rtt + us) / 8
}
