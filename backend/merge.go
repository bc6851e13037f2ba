package backend

import (
	"cmp"
	"slices"
	"time"
)

// unanswered is how long a shared backend that has never answered a probe
// keeps its place when places are short.
const unanswered = 30 * time.Second

// Change is what a shared store says of one backend: as the caller has seen it
// in a snapshot, and as it is to be. A zero Seen stands for one that was not
// there, a zero Next for one that is to go. Where both have an ID and it is not
// the same, Next is the process that has taken over from Seen: its late
// heartbeats will be refused.
type Change struct{ Seen, Next Backend }

// Refusal is a Change that was not made, and why.
type Refusal struct {
	Change
	Err error
}

// Merge makes many changes in one snapshot: each costs a copy of all backends.
// A change is left out without a word if the backend is no longer as it was
// seen; the caller's next look decides anew. Those that the gate refuses, or
// for which there is no place among MaxRegistered, are returned.
//
// When all places are taken, a shared backend that has never answered a probe
// gives way to a new one after a while: entries that lead nowhere cannot keep
// everybody else out.
func (r *Registry) Merge(changes []Change, now time.Time) (refused []Refusal) {
	if len(changes) == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	present := make(map[ID]Backend, len(r.Snapshot().Backends))
	places := MaxRegistered
	for _, b := range r.Snapshot().Backends {
		present[b.ID] = b
		if b.Source != Static {
			places--
		}
	}
	changed := false
	idle := r.idle(now)
	for _, c := range changes {
		target := cmp.Or(c.Seen.ID, c.Next.ID)
		_, taken := present[c.Next.ID]
		if present[target] != c.Seen || c.Next.ID != target && taken {
			continue
		}
		if err := r.gate.check(c.Next.Addr); err != nil {
			refused = append(refused, Refusal{c, err})
			continue
		}
		if c.Seen.ID == "" && places <= 0 {
			if len(idle) == 0 {
				refused = append(refused, Refusal{c, ErrFull})
				continue
			}
			delete(present, idle[0])
			idle = idle[1:]
			places++
		}
		if c.Seen.ID != "" {
			delete(present, c.Seen.ID)
			places++
		}
		if c.Next.ID != "" {
			c.Next.Weight = max(c.Next.Weight, 1)
			present[c.Next.ID] = c.Next
			places--
			delete(r.pulses, c.Next.ID)
		}
		if c.Seen.ID != "" && c.Next.ID != "" && c.Seen.ID != c.Next.ID {
			r.note(c.Seen.ID, now)
		}
		changed = true
	}
	if changed {
		all := make([]Backend, 0, len(present))
		for _, b := range present {
			all = append(all, b)
		}
		r.publish(all)
	}
	return refused
}

// idle returns the shared backends that give way to new ones, the one that was
// put in first before the others. There are some only while places are short.
func (r *Registry) idle(now time.Time) []ID {
	all := r.Snapshot().Backends
	if len(all) < MaxRegistered {
		return nil
	}
	var waiting []Backend
	for _, b := range all {
		if b.Source == Shared && b.Down && b.Answered.IsZero() && now.Sub(b.Added) >= unanswered {
			waiting = append(waiting, b)
		}
	}
	slices.SortFunc(waiting, func(a, b Backend) int { return cmp.Or(a.Added.Compare(b.Added), compareID(a.ID, b.ID)) })
	ids := make([]ID, len(waiting))
	for i, b := range waiting {
		ids[i] = b.ID
	}
	return ids
}

// makePlace forgets a shared backend that is down for the sake of one that
// registers here: an operator's own servers come before what a store lists. It
// reports whether there is a place now.
func (r *Registry) makePlace() bool {
	all := r.Snapshot().Backends
	taken, out := 0, -1
	for i, b := range all {
		if b.Source == Static {
			continue
		}
		taken++
		if b.Source == Shared && b.Down && (out < 0 || b.Answered.Before(all[out].Answered)) {
			out = i
		}
	}
	if taken < MaxRegistered {
		return true
	}
	if out < 0 {
		return false
	}
	r.publish(r.without(all[out].ID))
	return true
}
