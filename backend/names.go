package backend

import (
	"maps"
	"net/netip"
	"slices"
	"time"
)

// A name of the configuration has a backend for each of its addresses, whose ID is the
// address: so all relays that follow the name mean the same backend by an ID, and a
// backend keeps its ID, and its streams, while other addresses come and go. While
// nothing is known of a name, a backend without an address stands for it, whose ID is
// the name.

// maxFollowed is the most backends that names may have together.
const maxFollowed = 4096

// leftKept is how long a backend stays known after its name ceased to have its address:
// name servers that answer with a part of the addresses each time change their mind.
const leftKept = 5 * time.Minute

// named is one name of the configuration.
type named struct {
	weight int
	found  []foundAt // of the last answer
}

// foundAt is an address of a name.
type foundAt struct {
	addr   netip.AddrPort
	weight int   // by its SRV record, 0 without one
	backup uint8 // see Backend.Backup
}

func (n *named) has(addr netip.AddrPort) *foundAt {
	if i := slices.IndexFunc(n.found, func(f foundAt) bool { return f.addr == addr }); i >= 0 {
		return &n.found[i]
	}
	return nil
}

// of returns a backend as this name wants it.
func (n *named) of(b Backend, host string, f *foundAt) Backend {
	b.Host, b.Problem, b.LeftAt, b.Backup, b.Removed = host, "", time.Time{}, f.backup, false
	if b.Weight = f.weight; f.weight == 0 {
		b.Weight = n.weight
	}
	return b
}

func (r *Registry) addName(host string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names[host] = &named{weight: 1}
}

// follow makes the addresses found the backends of a name. It returns the backends that
// are new, those whose address the name ceased to have, and how many addresses were
// left out because of maxFollowed.
func (r *Registry) follow(host string, found []foundAt, now time.Time) (came, left []Backend, over int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.names[host]
	if n == nil {
		return nil, nil, 0 // removed meanwhile
	}
	n.found = found
	known := make(map[netip.AddrPort]bool)
	var before Backend // stood for the name
	followed := 0
	var all []Backend
	for _, b := range r.Snapshot().Backends {
		switch {
		case b.ID == ID(host):
			before = b
			continue // its addresses take its place
		case b.Source == SourceStatic && (string(b.ID) != b.Host || b.Removed):
			was := b
			if b = r.claimed(b, host, now); b.LeftAt != was.LeftAt && was.LeftAt.IsZero() {
				left = append(left, b)
			}
			followed++
			known[b.Addr] = true
		case b.Source == SourceStatic, b.Source == SourceRegistered:
			known[b.Addr] = true // has the address by another right
		}
		all = append(all, b)
	}
	for i := range found {
		f := &found[i]
		if known[f.addr] || r.taken(ID(f.addr.String())) {
			continue
		}
		if followed++; followed > maxFollowed {
			over++
			continue
		}
		b := n.of(Backend{
			ID: ID(f.addr.String()), Source: SourceStatic, Addr: f.addr, Down: true, Added: now,
			Draining: before.Draining, OrderedWeight: before.OrderedWeight, OrderedBy: before.OrderedBy,
		}, host, f)
		came, all = append(came, b), append(all, b)
	}
	r.publish(all)
	return came, left, over
}

// staticHosts returns every name and every address of the configuration.
func (r *Registry) staticHosts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Collect(maps.Keys(r.names))
	for _, b := range r.Snapshot().Backends {
		if b.Source == SourceStatic && string(b.ID) == b.Host && r.names[b.Host] == nil && !b.Removed {
			all = append(all, b.Host)
		}
	}
	return all
}

// taken reports whether there is a backend of an ID.
func (r *Registry) taken(id ID) bool {
	_, taken := r.Snapshot().Find(id)
	return taken
}

// claimed returns a followed backend as it is now that a name has a new answer: of that
// name, of another name that has its address too, or of none.
func (r *Registry) claimed(b Backend, host string, now time.Time) Backend {
	n := r.names[host]
	f := n.has(b.Addr)
	switch {
	case f != nil && (b.Host == host || b.Removed || !b.LeftAt.IsZero()):
		return n.of(b, host, f)
	case f != nil || b.Host != host || !b.LeftAt.IsZero():
		return b
	}
	if !r.claimedByOther(&b) {
		b.LeftAt = now
	}
	return b
}

// noteProblem sets why a name could not be looked up, "" for no reason. It returns how
// many addresses the name keeps, and whether the problem is a new one.
func (r *Registry) noteProblem(host, problem string, now time.Time) (kept int, news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := slices.Clone(r.Snapshot().Backends)
	some := false
	for i := range all {
		b := &all[i]
		if b.Source != SourceStatic || b.Host != host {
			continue
		}
		some = true
		if b.Addr.IsValid() {
			kept++
		}
		if b.Problem != problem {
			b.Problem, news = problem, true
		}
	}
	if !some && problem != "" && r.names[host] != nil { // its addresses were those of registered backends
		all, news = append(all, r.standIn(host, problem, now)), true
	}
	if news {
		r.publish(all)
	}
	return kept, news
}

// addrsOf returns the addresses that a name has had, those that it may have left among
// them.
func (r *Registry) addrsOf(host string) (all []netip.AddrPort) {
	for _, b := range r.Snapshot().Backends {
		if b.Source == SourceStatic && b.Host == host && b.Addr.IsValid() {
			all = append(all, b.Addr)
		}
	}
	return all
}

// ExpireLeft removes and returns the backends whose name has ceased to have their
// address, once they are of no more use: they are down or have left long ago, and are
// not in use.
func (r *Registry) ExpireLeft(now time.Time, inUse func(ID) bool) (gone []Backend) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(r.Snapshot().Backends), func(b Backend) bool {
		if b.LeftAt.IsZero() || !b.Down && now.Sub(b.LeftAt) < leftKept || inUse(b.ID) {
			return false
		}
		gone = append(gone, b)
		return true
	})
	if len(gone) > 0 {
		r.publish(left)
	}
	return gone
}

// standIn returns the backend that stands for a name without addresses.
func (r *Registry) standIn(host, problem string, now time.Time) Backend {
	return Backend{
		ID: ID(host), Source: SourceStatic, Host: host, Down: true, Weight: max(r.names[host].weight, 1), Added: now, Problem: problem,
	}
}
