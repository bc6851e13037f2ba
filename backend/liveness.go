package backend

import (
	"context"
	"maps"
	"slices"
	"time"

	"srtrelay/internal/supervise"
)

// liveness is when a backend was last heard from, exactly. Snapshots have it in
// coarse steps: hundreds of backends that answer probes and send heartbeats every
// second must not cause hundreds of snapshots a second. A snapshot that is due for
// one backend updates all of them.
type liveness struct {
	heartbeat time.Time // the last heartbeat
	answered  time.Time // the last answer to a probe
	due       time.Time // when the next heartbeat is late
	published time.Time // the Expires of the next snapshot
}

const (
	// answeredStep is the resolution of Backend.Answered.
	answeredStep = 10 * time.Second
	// expiresParts divides the time for which a heartbeat is good: the quotient
	// is the resolution of Backend.Expires. Expires may be that much after the
	// exact time, never before it, so that no backend counts as late too soon.
	expiresParts = 10
)

// livenessOf returns the liveness of a backend that is, or is about to be, known.
func (r *Registry) livenessOf(id ID) *liveness {
	p := r.liveness[id]
	if p == nil {
		p = new(liveness)
		r.liveness[id] = p
	}
	return p
}

// apply updates b from p, which may be nil.
func (p *liveness) apply(b *Backend) {
	if p == nil {
		return
	}
	if p.answered.After(b.Answered) {
		b.Answered = p.answered
	}
	if b.Source != SourceStatic && p.published.After(b.Expires) {
		b.Expires = p.published
	}
}

// LastSeen returns when each backend last sent a heartbeat or answered a probe,
// exactly, where a snapshot is coarse.
func (r *Registry) LastSeen() map[ID]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[ID]time.Time, len(r.liveness))
	for id, p := range r.liveness {
		seen[id] = p.answered
		if p.heartbeat.After(p.answered) {
			seen[id] = p.heartbeat
		}
	}
	return seen
}

const (
	// keepLate is how long a backend without heartbeat stays known, as long as
	// with SRS's proxy.
	keepLate = 5 * time.Minute
	// expireInterval is how often RunExpiry checks.
	expireInterval = 5 * time.Second
)

// Expire removes and returns the backends whose heartbeat has been late for longer
// than keep and which do not answer probes either. Static backends need no
// heartbeat and stay.
func (r *Registry) Expire(now time.Time, keep time.Duration) []Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.replaced, func(_ ID, at time.Time) bool { return now.Sub(at) > keepLate })
	var gone []Backend
	left := slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool {
		due := b.Expires
		if p := r.liveness[b.ID]; p != nil && !p.due.IsZero() {
			due = p.due // exact
		}
		if due.IsZero() || now.Sub(due) <= keep {
			return false
		}
		if p := r.liveness[b.ID]; p != nil && !b.Down && now.Sub(p.answered) <= keep {
			return false // late, but alive, and it may have sessions
		}
		gone = append(gone, b)
		return true
	})
	if len(gone) > 0 {
		r.publish(left)
	}
	return gone
}

// RunExpiry calls Expire, ExpireLeft, ExpireRemoved and Recheck periodically until ctx
// ends, and gone for each backend that they removed, with the reason. inUse reports
// whether a backend has sessions.
func (r *Registry) RunExpiry(ctx context.Context, inUse func(ID) bool, gone func(b Backend, why string)) {
	supervise.Every(ctx, expireInterval, func(now time.Time) {
		for _, b := range r.Expire(now, keepLate) {
			gone(b, "no heartbeat")
		}
		for _, b := range r.ExpireLeft(now, inUse) {
			gone(b, "its name no longer has its address")
		}
		for _, b := range r.ExpireRemoved(inUse) {
			gone(b, "no longer in the configuration")
		}
		for _, b := range r.Recheck() {
			gone(b, ErrSelf.Error())
		}
	})
}
