package backend

import (
	"cmp"
	"slices"
	"time"
)

// evictAfter is how long a shared backend that has never answered a probe stays
// when MaxRegistered is reached.
const evictAfter = 30 * time.Second

// Change is a compare-and-swap of one backend: Old as the caller found it in a
// snapshot, New as it becomes. A zero Old adds a backend, a zero New removes one.
// If their IDs differ, New is the process that replaces Old, whose late heartbeats
// are refused from then on.
type Change struct{ Old, New Backend }

// Refusal is a Change that Merge refused, and why.
type Refusal struct {
	Change
	Err error
}

// Merge makes many changes in one snapshot, because a snapshot costs a copy of all
// backends. It skips a change if the backend is no longer Old; the caller's next
// snapshot decides anew. It returns the changes with an address that no backend
// may have, and those that exceed MaxRegistered.
//
// When MaxRegistered is reached, a new backend replaces a shared one that has not
// answered a probe for evictAfter: dead entries must not keep others out.
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
		if b.Source != SourceStatic {
			places--
		}
	}
	changed := false
	idle := r.evictable(now)
	for _, c := range changes {
		target := cmp.Or(c.Old.ID, c.New.ID)
		_, taken := present[c.New.ID]
		if present[target] != c.Old || c.New.ID != target && taken {
			continue
		}
		if err := r.filter.check(c.New.Addr); err != nil {
			refused = append(refused, Refusal{c, err})
			continue
		}
		if c.Old.ID == "" && places <= 0 {
			if len(idle) == 0 {
				refused = append(refused, Refusal{c, ErrFull})
				continue
			}
			delete(present, idle[0])
			idle = idle[1:]
			places++
		}
		if c.Old.ID != "" {
			delete(present, c.Old.ID)
			places++
		}
		if c.New.ID != "" {
			c.New.Weight = max(c.New.Weight, 1)
			present[c.New.ID] = c.New
			places--
			delete(r.liveness, c.New.ID)
		}
		if c.Old.ID != "" && c.New.ID != "" && c.Old.ID != c.New.ID {
			r.noteReplaced(c.Old.ID, now)
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

// evictable returns the shared backends that new ones may replace, the oldest
// first. There are none below MaxRegistered.
func (r *Registry) evictable(now time.Time) []ID {
	all := r.Snapshot().Backends
	if len(all) < MaxRegistered {
		return nil
	}
	var waiting []Backend
	for _, b := range all {
		if b.Source == SourceShared && b.Down && b.Answered.IsZero() && now.Sub(b.Added) >= evictAfter {
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

// makeRoom removes a shared backend that is down for one that registers here, which
// comes before what a store lists. It reports whether there is room.
func (r *Registry) makeRoom() bool {
	all := r.Snapshot().Backends
	taken, out := 0, -1
	for i, b := range all {
		if b.Source == SourceStatic {
			continue
		}
		taken++
		if b.Source == SourceShared && b.Down && (out < 0 || b.Answered.Before(all[out].Answered)) {
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
