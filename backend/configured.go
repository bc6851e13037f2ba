package backend

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// SetStatic makes hosts, written as for AddStatic, the static backends. weights has the
// weights other than 1. It changes everything at once or, with an error, nothing.
//
// A backend that is not among hosts any more gets no new streams, and ExpireRemoved
// removes it when it has no sessions. One that comes back before that goes on.
func (r *Registry) SetStatic(hosts []string, weights map[string]int, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := make(map[string]Backend, len(hosts))
	for _, host := range hosts {
		b, err := newStatic(host, now)
		if err == nil {
			err = r.filter.check(b.Addr)
		}
		if err != nil {
			return fmt.Errorf("backend %q: %w", host, err)
		}
		b.Weight = max(weights[host], 1)
		wanted[host] = b
	}
	maps.DeleteFunc(r.names, func(host string, _ *named) bool { return wanted[host].ID == "" })
	clear(r.waiting)
	all, known := r.keepStatic(wanted)
	for _, host := range hosts {
		b := wanted[host]
		name := r.names[host]
		switch {
		case b.Addr.IsValid() && !known[host] && hasAddr(all, b.Addr):
			r.waiting[host] = b
		case b.Addr.IsValid() && !known[host]:
			all = append(all, b)
		case b.Addr.IsValid():
		case name != nil:
			name.weight = b.Weight
		default:
			r.names[host] = &named{weight: b.Weight}
			if !known[host] {
				all = append(all, b)
			}
		}
	}
	r.publish(all)
	select {
	case r.hostsChanged <- struct{}{}:
	default: // ResolveNames has not seen the last change yet, and will see both
	}
	return nil
}

// keepStatic returns all backends as they become with other static ones, and the hosts
// that have backends already.
func (r *Registry) keepStatic(wanted map[string]Backend) (all []Backend, known map[string]bool) {
	known = make(map[string]bool)
	for _, b := range r.Snapshot().Backends {
		if b.Source != SourceStatic {
			all = append(all, b)
			continue
		}
		w, stays := wanted[b.Host]
		if same := wanted[string(b.ID)]; !stays && same.Addr == b.Addr && b.Addr.IsValid() { // was an address of a name
			w, stays = same, true
			b.Host, b.Problem, b.LeftAt, b.Backup = same.Host, "", time.Time{}, 0
		}
		switch {
		case stays:
			known[b.Host] = true
			if b.Removed = false; !strings.HasPrefix(b.Host, srvScheme) {
				b.Weight = w.Weight
			}
		case !b.Addr.IsValid():
			continue // it stood for a name, and has no sessions
		case !r.claimedByOther(&b):
			b.Removed = true
		}
		all = append(all, b)
	}
	return all, known
}

// claimedByOther gives a backend to a name that has its address too. It reports whether
// there is one.
func (r *Registry) claimedByOther(b *Backend) bool {
	for _, other := range slices.Sorted(maps.Keys(r.names)) {
		if f := r.names[other].has(b.Addr); f != nil && other != b.Host {
			*b = r.names[other].of(*b, other, f)
			return true
		}
	}
	return false
}

// hasAddr reports whether a backend has an address.
func hasAddr(all []Backend, addr netip.AddrPort) bool {
	return slices.ContainsFunc(all, func(b Backend) bool { return b.Addr == addr })
}

// ExpireRemoved removes and returns the backends that SetStatic has removed, once they
// are not in use. It adds those that waited because another backend, which had
// registered, had their address.
func (r *Registry) ExpireRemoved(inUse func(ID) bool) (gone []Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool {
		if !b.Removed || inUse(b.ID) {
			return false
		}
		gone = append(gone, b)
		return true
	})
	added := false
	for _, host := range slices.Sorted(maps.Keys(r.waiting)) {
		b := r.waiting[host]
		if !hasAddr(left, b.Addr) && r.filter.check(b.Addr) == nil {
			left, added = append(left, b), true
			delete(r.waiting, host)
		}
	}
	if added || len(gone) > 0 {
		r.publish(left)
	}
	return gone
}
