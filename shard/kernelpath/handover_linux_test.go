package kernelpath

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"srtrelay/wire"
)

func TestHandover(t *testing.T) {
	u := newUserSpace(t, newRig(t))
	u.want("an offer before any datagram", u.turn(), false)
	u.want("the first one passes", u.arrive(1, 100), false)
	u.want("fresh", u.handover.Fresh(u.w), true)
	u.want("the second one passes", u.arrive(1, 100), false)
	u.receive(1)
	u.want("fresh", u.handover.Fresh(u.w), false)
	u.want("an offer while one is under way", u.offer(), false)
	u.receive(1)
	u.flush()
	u.want("an offer", u.offer(), true)
	u.want("mode", u.w.Mode(), Pending)
	u.want("the third one passes", u.arrive(1, 100), true)
	u.want("mode", u.w.Mode(), On)
	u.want("a train passes", u.arrive(3, 100), true)
	u.wantOrder(0)
}

// A datagram that goes up after the offer puts it out of force, until the next offer.
func TestHandoverOvertaken(t *testing.T) {
	u := newUserSpace(t, newRig(t))
	u.arrive(2, 100)
	u.receive(2)
	complete := u.handover.Complete(u.w)
	u.want("complete", complete, true)
	u.arrive(1, 100)
	u.handover.Offer(u.w) // of what was complete before
	u.want("a datagram passes another one", u.arrive(1, 100), false)
	u.want("an offer", u.turn(), true)
	u.want("the next one passes", u.arrive(1, 100), true)
	u.wantOrder(0)
}

// One that is lost on the way to user space leaves the way pending, until Restart.
func TestHandoverOfLost(t *testing.T) {
	u := newUserSpace(t, newRig(t))
	for _, lost := range []int{0, 1, 2} {
		u.t.Logf("the datagram at %d is lost", lost)
		u.w.SetPending()
		u.sent, u.next = nil, 1
		u.arrive(3, 100)
		u.queue = slices.Delete(u.queue, lost, lost+1)
		u.want("an offer", u.turn(), false)
		u.want("a datagram passes", u.arrive(1, 100), false)
		u.want("an offer", u.turn(), false)
		u.handover.Restart(u.w)
		u.want("an offer after the restart", u.turn(), false)
		u.want("a datagram passes", u.arrive(1, 100), false)
		u.want("an offer", u.turn(), true)
		u.want("a datagram passes", u.arrive(1, 100), true)
		u.wantOrder(1)
	}
}

// Restart while datagrams are under way: they are not counted, and not overtaken.
func TestHandoverRestartedTooEarly(t *testing.T) {
	u := newUserSpace(t, newRig(t))
	u.arrive(4, 100)
	u.receive(2)
	u.handover.Restart(u.w)
	u.receive(1)
	u.arrive(1, 100) // is marked
	u.want("fresh", u.handover.Fresh(u.w), true)
	u.receive(1)
	u.flush()
	u.want("an offer", u.offer(), false)
	u.want("a datagram passes", u.arrive(1, 100), false)
	u.want("an offer", u.turn(), true)
	u.want("a datagram passes", u.arrive(1, 100), true)
	u.wantOrder(0)
}

// A way that is on goes back with a datagram that cannot pass, and begins a new count. What
// was offered before is not taken.
func TestHandoverAfterException(t *testing.T) {
	for name, leave := range map[string]func(u *userSpace){
		"longer than the MTU": func(u *userSpace) { u.arrive(1, 1200) },
		"paused": func(u *userSpace) {
			u.r.pause()
			u.arrive(1, 100)
			u.r.resume()
		},
		"paused, a train": func(u *userSpace) {
			u.r.pause()
			u.arrive(2, 100)
			u.r.resume()
		},
		"pending again": func(u *userSpace) {
			u.w.SetPending()
			u.arrive(1, 100)
		},
		"off and pending": func(u *userSpace) {
			u.w.SetOff()
			u.w.SetPending()
			u.arrive(1, 100)
		},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUserSpace(t, newRig(t))
			u.arrive(1, 100)
			u.turn()
			u.want("a datagram passes", u.arrive(1, 100), true)
			leave(u)
			u.want("mode", u.w.Mode(), Pending)
			u.want("fresh", u.handover.Fresh(u.w), true)
			u.want("a datagram passes", u.arrive(1, 100), false)
			u.handover.Offer(u.w) // what is long over
			u.want("a datagram passes", u.arrive(1, 100), false)
			u.want("an offer", u.turn(), true)
			u.want("a datagram passes", u.arrive(1, 100), true)
			u.wantOrder(0)
		})
	}
}

// A SHUTDOWN that goes up is counted while the way is pending, and changes nothing of a
// way that is on.
func TestHandoverBesideShutdown(t *testing.T) {
	u := newUserSpace(t, newRig(t))
	u.shutdown()
	u.arrive(1, 100)
	u.turn()
	u.shutdown() // after the offer
	u.want("a datagram passes", u.arrive(1, 100), false)
	u.want("an offer", u.turn(), true)
	u.want("a datagram passes", u.arrive(1, 100), true)
	u.shutdown()
	u.want("mode", u.w.Mode(), On)
	u.want("a datagram passes", u.arrive(1, 100), true)
	u.want("an offer", u.turn(), true) // the old one
	u.want("a datagram passes", u.arrive(1, 100), true)
}

// A place's next session begins a new count, whatever the last one has left behind.
func TestHandoverOfNextSession(t *testing.T) {
	r := newRig(t)
	u := newUserSpace(t, r)
	u.arrive(2, 100)
	u.receive(1)
	old := u.handover
	u = newUserSpace(t, r)
	old.Offer(u.w)
	u.arrive(1, 100)
	old.Offer(u.w)
	u.want("a datagram passes", u.arrive(1, 100), false)
	u.want("an offer", u.turn(), true)
	u.want("a datagram passes", u.arrive(1, 100), true)
	u.wantOrder(0)
}

// Whatever user space does in between: no datagram passes in the kernel while an earlier
// one has not been sent, and once all have been sent the way is on again.
func TestHandoverKeepsOrder(t *testing.T) {
	r := newRig(t)
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(14, seed))
		u := newUserSpace(t, r)
		lost, script := 0, ""
		for range 60 {
			step := random.IntN(12)
			script += fmt.Sprintf(" %d", step)
			lost += u.randomStep(step, random)
		}
		u.wantOrder(lost)
		u.turn()
		u.handover.Restart(u.w)
		u.arrive(1, 100)
		u.turn()
		if !u.arrive(1, 100) {
			t.Error("the way does not become on")
		}
		u.wantOrder(lost)
		if t.Failed() {
			t.Fatalf("seed %d:%s", seed, script)
		}
	}
}

// randomStep returns how many datagrams it has lost.
func (u *userSpace) randomStep(step int, random *rand.Rand) (lost int) {
	switch step {
	case 0, 1:
		u.arrive(1, 100)
	case 2:
		u.arrive(1+random.IntN(4), 100)
	case 3:
		u.arrive(1, 1200) // longer than the MTU
	case 4:
		u.r.pause()
		u.arrive(1, 100)
		u.r.resume()
	case 5, 6:
		u.receive(1 + random.IntN(4))
	case 7:
		u.flush()
		u.offer()
	case 8:
		u.turn()
	case 9: // something goes up between two steps of the offer
		u.flush()
		if u.handover.Complete(u.w) {
			u.arrive(1, 100)
			u.handover.Offer(u.w)
		}
	case 10:
		if random.IntN(3) == 0 {
			u.handover.Restart(u.w)
		} else if random.IntN(3) == 0 {
			u.w.SetPending()
		}
	case 11:
		if n := len(u.queue); n > 0 && random.IntN(3) == 0 {
			i := random.IntN(n)
			u.queue = slices.Delete(u.queue, i, i+1)
			return 1
		}
	}
	return 0
}

// A train whose first datagram is of no session in the path may have some of others.
func TestHandoverOfMixedTrainBehindForeign(t *testing.T) {
	for _, id := range []uint32{0, backendID + 7} {
		for _, session := range []func() Session{session4, session6} {
			r := newRig(t)
			u := newUserSpaceOf(t, r, session(), toLoopback())
			u.arrive(1, 84)
			u.turn()
			u.want("a datagram passes", u.arrive(1, 84), true)
			before := r.up(t)
			u.queue = u.packets(2, 84)
			frame := frameOf(u.e.Caller, u.e.Front, train(dataOf(1, plain, id, 84), u.queue[0], u.queue[1]))
			action, _ := r.run(frame, segments(100), 0)
			u.want("the program returns", action, int32(next))
			u.want("counted as mixed", r.up(t)[pathReasonUP_MIXED]-before[pathReasonUP_MIXED], uint64(2))
			u.want("a datagram passes", u.arrive(1, 84), false)
			u.want("an offer", u.turn(), true)
			u.want("a datagram passes", u.arrive(1, 84), true)
			u.wantOrder(0)
		}
	}
}

// A train of several sessions goes up. A datagram of any of them that comes behind does
// not overtake it, and each way is handed over again by what it has counted.
func TestHandoverOfMixedTrain(t *testing.T) {
	for name, first := range map[string]func(u, other *userSpace){
		"on":      func(*userSpace, *userSpace) {},
		"pending": func(u, _ *userSpace) { u.w.SetPending() },
		"off":     func(u, _ *userSpace) { u.w.SetOff() },
		"paused":  func(u, _ *userSpace) { u.r.pause() },
	} {
		for _, session := range []func() Session{session4, session6} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t)
				u := newUserSpaceOf(t, r, session(), toLoopback())
				e := session()
				e.Place, e.BackendID, e.CallerID = 1, backendID+1, callerID+1
				other := newUserSpaceOf(t, r, e, toLoopback())
				for _, one := range []*userSpace{u, other} {
					one.arrive(1, 84)
					one.turn()
					one.want("a datagram passes", one.arrive(1, 84), true)
				}
				first(u, other)
				a, b := u.packets(2, 84), other.packets(2, 84)
				runt := make([]byte, wire.HeaderSize-1)
				frame := frameOf(u.e.Caller, u.e.Front, append(train(a[0], b[0], a[1], b[1]), runt...))
				action, _ := r.run(frame, segments(100), 0)
				u.want("the program returns", action, int32(next))
				u.queue, other.queue = a, b
				u.want("mode of the other way", other.w.Mode(), Pending)
				u.want("a datagram of the other session passes", other.arrive(1, 84), false)
				u.want("a datagram of the first one passes", u.arrive(1, 84), false)
				if name == "off" {
					u.w.SetPending()
					u.arrive(1, 84)
				} else if name == "paused" {
					r.resume()
				}
				for _, one := range []*userSpace{u, other} {
					one.want("an offer", one.turn(), true)
					one.want("a datagram passes", one.arrive(1, 84), true)
					one.wantOrder(0)
				}
			})
		}
	}
}
