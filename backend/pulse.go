package backend

import (
	"context"
	"maps"
	"slices"
	"time"
)

// pulse is a backend's last sign of life, exact. Snapshots show it in coarse
// steps: hundreds of backends that are probed and heard of every second must
// not make hundreds of snapshots a second. What is due for one backend is shown
// for all in the same snapshot, so that it takes one per step, not one each.
type pulse struct {
	heard    time.Time // the last heartbeat
	answered time.Time // the last answer to a probe
	due      time.Time // when the next heartbeat is late
	shown    time.Time // the Expires that the next snapshot shows
}

const (
	// answeredStep is the grain of Backend.Answered.
	answeredStep = 10 * time.Second
	// expiresParts is the grain of Backend.Expires as a part of the time that
	// a heartbeat is good for. Expires lies up to so much behind the true
	// time, never before it: no backend is late that is not.
	expiresParts = 10
)

// pulse returns the pulse of a backend that is, or is about to be, known.
func (r *Registry) pulse(id ID) *pulse {
	p := r.pulses[id]
	if p == nil {
		p = new(pulse)
		r.pulses[id] = p
	}
	return p
}

// show brings b up to the pulse, which may be nil.
func (p *pulse) show(b *Backend) {
	if p == nil {
		return
	}
	if p.answered.After(b.Answered) {
		b.Answered = p.answered
	}
	if b.Source != Static && p.shown.After(b.Expires) {
		b.Expires = p.shown
	}
}

// Seen returns the last sign of life, heartbeat or answer, of every backend
// that gave one, exact where a snapshot is coarse.
func (r *Registry) Seen() map[ID]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[ID]time.Time, len(r.pulses))
	for id, p := range r.pulses {
		seen[id] = p.answered
		if p.heard.After(p.answered) {
			seen[id] = p.heard
		}
	}
	return seen
}

const (
	// LateKept is how long a backend without heartbeat is still shown to the
	// operator, and welcome back with its history: SRS's proxy keeps 300 s.
	LateKept = 5 * time.Minute
	// expireEvery is how often Age looks.
	expireEvery = 5 * time.Second
)

// Expire forgets the backends whose heartbeat has been late for longer than
// keep and who do not answer probes either, and returns them. Static ones need
// no heartbeat and stay.
func (r *Registry) Expire(now time.Time, keep time.Duration) []Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.replaced, func(_ ID, at time.Time) bool { return now.Sub(at) > LateKept })
	var gone []Backend
	left := slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool {
		due := b.Expires
		if p := r.pulses[b.ID]; p != nil && !p.due.IsZero() {
			due = p.due // exact
		}
		if due.IsZero() || now.Sub(due) <= keep {
			return false
		}
		if p := r.pulses[b.ID]; p != nil && !b.Down && now.Sub(p.answered) <= keep {
			return false // it lives, and may have sessions: late, but not gone
		}
		gone = append(gone, b)
		return true
	})
	if len(gone) > 0 {
		r.publish(left)
	}
	return gone
}

// Age calls Expire with LateKept and Recheck again and again until ctx ends.
// gone is told of each backend that was forgotten, and why.
func (r *Registry) Age(ctx context.Context, gone func(b Backend, why string)) {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			for _, b := range r.Expire(now, LateKept) {
				gone(b, "no heartbeat")
			}
			for _, b := range r.Recheck() {
				gone(b, ErrSelf.Error())
			}
		}
	}
}
