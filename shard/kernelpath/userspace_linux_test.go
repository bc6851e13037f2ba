package kernelpath

import (
	"slices"
	"testing"

	"srtrelay/wire"
)

// userSpace relays what goes up of one way, as the shard does: it counts a datagram, puts
// it into an outbox, flushes that, and offers the way.
type userSpace struct {
	t        testing.TB
	r        *rig
	e        Session
	w        Way
	handover Handover
	queue    []wire.Packet // has gone up, and is not received yet
	outbox   []uint32
	sent     []uint32 // by kernel and user space: what the backend receives
	next     uint32
}

func newUserSpace(t testing.TB, r *rig) *userSpace {
	return newUserSpaceOf(t, r, session4(), r.toDevice("198.51.100.2", 1000))
}

func newUserSpaceOf(t testing.TB, r *rig, e Session, toBackend hop) *userSpace {
	r.t = t
	e = r.enter(e, toBackend, r.near())
	u := &userSpace{t: t, r: r, e: e, w: r.shard.Way(e.Place, 0), next: 1}
	u.w.SetPending()
	return u
}

// arrive has a train of n datagrams arrive, each with so many bytes of payload.
func (u *userSpace) arrive(n, payload int) (passed bool) {
	u.t.Helper()
	ps := u.packets(n, payload)
	action, _ := u.r.run(frameOf(u.e.Caller, u.e.Front, train(ps...)), segments(wire.HeaderSize+payload), 0)
	if action != redirect {
		u.queue = append(u.queue, ps...)
		return false
	}
	for _, p := range ps {
		u.sent = append(u.sent, p.Sequence())
	}
	return true
}

// packets returns the next n datagrams.
func (u *userSpace) packets(n, payload int) (ps []wire.Packet) {
	for range n {
		ps = append(ps, dataOf(u.next, plain, u.e.BackendID, payload))
		u.next++
	}
	return ps
}

// shutdown has a datagram arrive that goes up by itself.
func (u *userSpace) shutdown() {
	u.t.Helper()
	u.next++
	p := wire.Packet(wire.AppendShutdown(nil, u.next, backendID))
	if action, _ := u.r.run(frameOf(u.e.Caller, u.e.Front, p), skb{}, 0); action != next {
		u.t.Fatalf("a SHUTDOWN passes: %d", action)
	}
	u.queue = append(u.queue, p)
}

// receive takes n datagrams that have gone up.
func (u *userSpace) receive(n int) {
	for range min(n, len(u.queue)) {
		p := u.queue[0]
		u.queue = u.queue[1:]
		if u.w.Mode() != On {
			u.handover.Sent(u.w, p)
		}
		if !p.IsControl() {
			u.outbox = append(u.outbox, p.Sequence())
		}
	}
}

func (u *userSpace) flush() { u.sent, u.outbox = append(u.sent, u.outbox...), nil }

// offer offers the way if it may, and reports whether it has.
func (u *userSpace) offer() bool {
	if !u.handover.Complete(u.w) {
		return false
	}
	u.w.SetSequence(sequence(u.next), true)
	u.handover.Offer(u.w)
	return true
}

// turn is a turn of the shard.
func (u *userSpace) turn() bool {
	u.receive(len(u.queue))
	u.flush()
	return u.offer()
}

// wantOrder checks that the backend has received all datagrams but so many, in order.
func (u *userSpace) wantOrder(lost int) {
	u.t.Helper()
	if !slices.IsSorted(u.sent) {
		u.t.Errorf("out of order: %v", u.sent)
	}
	if n := len(u.sent) + len(u.outbox) + len(u.queue) + lost; n != int(u.next)-1 {
		u.t.Errorf("%d datagrams, %d arrived", n, u.next-1)
	}
}

func (u *userSpace) want(what string, got, want any) {
	u.t.Helper()
	if got != want {
		u.t.Errorf("%s: %v, want %v", what, got, want)
	}
}
