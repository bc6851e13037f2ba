package backend

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// restored is what the snapshot of a Registry says.
type restored struct {
	backends []Backend
	liveness map[ID]*liveness
	names    map[string][]foundAt
	replaced map[ID]time.Time
}

// Restore makes the registry know what another one knew when it appended a snapshot. What
// this process has found out itself since then is newer. After an error nothing has
// changed. boot is when CLOCK_MONOTONIC was 0, by the clock of this process.
//
// The static backends are those of both configurations until the next SetStatic. Backends
// with an address that none may have are left out, and returned.
func (r *Registry) Restore(b []byte, boot, now time.Time) (refused []Refusal, err error) {
	old, err := readSnapshot(b, boot)
	if err != nil {
		return nil, fmt.Errorf("snapshot of the backends: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for host, found := range old.names {
		if n := r.names[host]; n != nil && n.found == nil {
			n.found = found
		}
	}
	present := make(map[ID]Backend, len(old.backends))
	at := make(map[netip.AddrPort]ID)
	for _, b := range r.Snapshot().Backends {
		present[b.ID], at[b.Addr] = b, b.ID
	}
	for _, b := range old.backends {
		mine, known := present[b.ID]
		switch {
		case known && mine.Source == SourceStatic:
			b = mine.inherit(b)
		case b.Source == SourceStatic && !b.Addr.IsValid():
			continue // it stood for a name, and has no sessions
		case b.Source == SourceStatic:
			b = r.leftMeanwhile(b, now)
		default:
			if err := r.filter.check(b.Addr); err != nil {
				refused = append(refused, Refusal{Change{New: b}, err})
				continue
			}
			if known {
				b = b.updated(mine)
			}
		}
		if other := at[b.Addr]; b.Addr.IsValid() && other != b.ID {
			delete(present, other) // a static backend that is new here waits until the address is free
		}
		present[b.ID] = b
	}
	r.restoreTimes(old)
	r.publish(r.withoutStandIns(present))
	return refused, nil
}

// inherit returns a static backend with what another process knew of it.
func (b Backend) inherit(old Backend) Backend {
	b.Draining, b.Added = old.Draining, old.Added
	b.OrderedWeight, b.OrderedBy = old.OrderedWeight, old.OrderedBy
	if b.Registration == nil {
		b.Registration = old.Registration
	}
	if b.Problem == notLookedUp && old.Problem != "" {
		b.Problem = old.Problem
	}
	if b.Addr != old.Addr {
		return b
	}
	return old.lifeOf(b)
}

// updated returns a backend with what this process has found out about it since.
func (b Backend) updated(mine Backend) Backend {
	if mine.Addr == b.Addr && mine.Answered.After(b.Answered) {
		return mine.lifeTo(b)
	}
	return b
}

// lifeOf returns a backend that is as alive as b, unless it has answered later than b.
func (b Backend) lifeOf(other Backend) Backend {
	if other.Answered.After(b.Answered) {
		return other
	}
	return b.lifeTo(other)
}

// lifeTo returns another backend that is as alive as b.
func (b Backend) lifeTo(other Backend) Backend {
	other.Down, other.Gone, other.Suspect, other.KeyLen, other.Answered = b.Down, b.Gone, b.Suspect, b.KeyLen, b.Answered
	return other
}

// leftMeanwhile returns the backend of a name, which has left it if this process has
// looked the name up and not found the address.
func (r *Registry) leftMeanwhile(b Backend, now time.Time) Backend {
	n := r.names[b.Host]
	if n != nil && n.found != nil && n.has(b.Addr) == nil && b.LeftAt.IsZero() {
		b.LeftAt = now
	}
	return b
}

// restoreTimes takes over when backends were heard from, and which were replaced.
func (r *Registry) restoreTimes(old *restored) {
	for id, p := range old.liveness {
		mine := r.liveness[id]
		if mine != nil && mine.answered.After(p.answered) {
			p.answered = mine.answered
		}
		if mine != nil && mine.heartbeat.After(p.heartbeat) {
			p.heartbeat, p.due, p.published = mine.heartbeat, mine.due, mine.published
		}
		r.liveness[id] = p
	}
	maps.Copy(r.replaced, old.replaced)
}

// withoutStandIns returns all backends except those that stand for a name that has
// addresses.
func (r *Registry) withoutStandIns(all map[ID]Backend) []Backend {
	has := make(map[string]bool)
	for _, b := range all {
		if b.Source == SourceStatic && b.Addr.IsValid() {
			has[b.Host] = true
		}
	}
	return slices.Collect(func(yield func(Backend) bool) {
		for _, b := range all {
			if standsIn := b.Source == SourceStatic && !b.Addr.IsValid() && r.names[b.Host] != nil; standsIn && has[b.Host] {
				continue
			}
			if !yield(b) {
				return
			}
		}
	})
}
