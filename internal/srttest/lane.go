package srttest

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// heldLimit bounds the packets that one lane holds back.
const heldLimit = 1024

// lane is one client's traffic in one direction: the unit within which order
// means anything. It writes under its lock, so that a packet released by
// another leaves right behind it.
type lane struct {
	link  *Link
	way   *way
	write func([]byte) error

	mu   sync.Mutex
	rng  *rand.Rand
	held []heldPacket
	nth  uint64
}

type heldPacket struct {
	nth   uint64
	after int
	b     []byte
}

// arrive decides what happens to one datagram; b is borrowed.
func (l *lane) arrive(b []byte) {
	w := l.way
	w.received.Add(1)
	action := l.link.ask(w.dir, b)
	imp := w.impairment.Load()
	if imp.BlackHole || action == Drop {
		w.lost.Add(1)
		return
	}
	fate := l.roll(imp)
	switch {
	case action == Duplicate:
		fate.lost, fate.twice, fate.after = false, true, 0
	case action > 0:
		fate.lost, fate.twice, fate.after = false, false, int(action)
		fate.patience = 0
	}
	if fate.lost {
		w.lost.Add(1)
		return
	}
	if fate.twice {
		w.duplicated.Add(1)
		l.forward(b, ticket{wait: fate.wait})
	}
	l.forward(b, fate.ticket)
}

// ticket says how a packet is to be forwarded.
type ticket struct {
	wait     time.Duration
	after    int           // hold until so many others have passed
	patience time.Duration // but no longer than this; 0 = for ever
}

type fate struct {
	ticket
	lost, twice bool
}

// roll always draws the same number of times, so that a seed yields the same
// losses whatever the other settings are.
func (l *lane) roll(imp *Impairment) (f fate) {
	l.mu.Lock()
	loss, dup, reorder := l.rng.Float64(), l.rng.Float64(), l.rng.Float64()
	jitter, span := l.rng.Float64(), l.rng.IntN(reorderSpan)
	l.mu.Unlock()
	f.lost, f.twice = loss < imp.Loss, dup < imp.Duplicate
	f.wait = imp.Delay + time.Duration(jitter*float64(imp.Jitter))
	if reorder < imp.Reorder {
		f.after, f.patience = 1+span, reorderPatience
	}
	return f
}

func (l *lane) forward(b []byte, t ticket) {
	if t.wait <= 0 {
		l.pass(b, t)
		return
	}
	kept := slices.Clone(b)
	if !l.link.scheduler.after(t.wait, func() { l.pass(kept, t) }) {
		l.way.overflowed.Add(1)
	}
}

// pass is the end of the delay: hold the packet back or send it, and with it
// those that waited for it.
func (l *lane) pass(b []byte, t ticket) {
	l.mu.Lock()
	defer l.link.notifier.Notify()
	defer l.mu.Unlock()
	if t.after > 0 {
		l.hold(b, t)
		return
	}
	l.emit(b)
	ready := 0
	for i := range l.held {
		l.held[i].after--
		if l.held[i].after <= 0 {
			ready++
		}
	}
	if ready == 0 {
		return
	}
	keep := l.held[:0]
	for _, h := range l.held {
		if h.after <= 0 {
			l.emit(h.b)
		} else {
			keep = append(keep, h)
		}
	}
	clear(l.held[len(keep):])
	l.held = keep
}

func (l *lane) hold(b []byte, t ticket) {
	if len(l.held) >= heldLimit {
		l.way.overflowed.Add(1)
		return
	}
	l.nth++
	nth := l.nth
	l.held = append(l.held, heldPacket{nth: nth, after: t.after, b: slices.Clone(b)})
	l.way.reordered.Add(1)
	if t.patience > 0 {
		l.link.scheduler.after(t.patience, func() {
			l.release(func(h heldPacket) bool { return h.nth == nth })
		})
	}
}

// release sends the held packets that are chosen, oldest first.
func (l *lane) release(chosen func(heldPacket) bool) {
	l.mu.Lock()
	defer l.link.notifier.Notify()
	defer l.mu.Unlock()
	l.held = slices.DeleteFunc(l.held, func(h heldPacket) bool {
		if !chosen(h) {
			return false
		}
		l.emit(h.b)
		return true
	})
}

// emit counts before it sends, so that a packet that has arrived is counted.
func (l *lane) emit(b []byte) {
	l.way.forwarded.Add(1)
	if err := l.write(b); err != nil {
		l.way.forwarded.Add(^uint64(0))
		l.way.failed.Add(1)
	}
}
