package backend

import (
	"errors"
	"net/netip"
	"time"
)

// MaxRegistered is the most backends that may be known beside the static ones, by
// heartbeat and from a shared store together. It is far more than one relay can
// use, and bounds a client that registers without end.
const MaxRegistered = 4096

// The reasons for which Register refuses a registration.
var (
	// ErrFull means that MaxRegistered is reached.
	ErrFull = errors.New("too many registered backends")
	// ErrReplaced means that another process has registered from the same
	// address since: this heartbeat is a late one of its predecessor.
	ErrReplaced = errors.New("replaced by another process at the same address")
	// ErrTaken means that a static backend at another address has the
	// registration's ID.
	ErrTaken = errors.New("is the name of a static backend")
)

// Arrival is the effect of a heartbeat.
type Arrival struct {
	Backend Backend
	// New is true for the first heartbeat of a process.
	New bool
	// Replaced are the entries that were replaced: the same server before its
	// restart.
	Replaced []ID
}

// Register handles the heartbeat of a server at addr, which is good for ttl. The
// error begins with the faulty field, or is one of the errors above.
//
// The heartbeat of a known process only extends its time, unless its content has
// changed. A new process gets streams once it has answered a probe. It replaces
// the backend with the same server ID or address, which must be the same server
// before a restart. But if two processes with one server ID (a cloned disk) are
// both alive, both stay.
//
// A static backend at addr stays static: it gets the registration, so that its SRS
// names are known too, and needs no further heartbeat.
func (r *Registry) Register(reg Registration, addr netip.AddrPort, now time.Time, ttl time.Duration) (Arrival, error) {
	if err := reg.Check(); err != nil {
		return Arrival{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, err := r.entryFor(&reg, addr)
	if err != nil {
		return Arrival{}, err
	}
	b := old
	switch {
	case b.ID == "":
		b = Backend{ID: reg.ID(), Addr: addr, Down: true, Weight: 1, Added: now}
	case b.Addr != addr:
		b.Addr, b.Down = addr, true // nothing has answered there yet
	}
	p := r.livenessOf(b.ID)
	p.heartbeat = now
	if b.Source != SourceStatic {
		b.Source, b.Host = SourceRegistered, addr.String()
		p.due = now.Add(ttl)
		p.published = p.due.Add(ttl / expiresParts)
		if b.Expires.Before(p.due) {
			b.Expires = p.published
		}
	}
	if !b.Registration.equal(&reg) {
		b.Registration = &reg
	}
	a := Arrival{New: old.Registration == nil || old.Registration.ID() != reg.ID()}
	if b != old {
		var all []Backend
		all, a.Replaced = r.supersede(b, a.New, now)
		r.publish(append(all, b))
	}
	if b.Down && b.Addr == old.Addr { // otherwise publish has notified
		r.notify(b.ID)
	}
	a.Backend, _ = r.Snapshot().Find(b.ID)
	return a, nil
}

// entryFor returns the entry that a registration updates: its own, that of the
// static backend at its address, or the zero Backend for a new one.
func (r *Registry) entryFor(reg *Registration, addr netip.AddrPort) (Backend, error) {
	id := reg.ID()
	own, known := r.Snapshot().Find(id)
	if known && own.Source == SourceStatic && own.Addr != addr {
		return Backend{}, ErrTaken
	}
	var at Backend // another backend at the address
	others := 0
	for _, b := range r.Snapshot().Backends {
		switch {
		case b.ID == id:
		case b.Addr == addr:
			if at.Source != SourceStatic {
				at = b
			}
		case b.Source == SourceRegistered && !b.Registration.sameServer(reg):
			others++
		}
	}
	attached := at.Source == SourceStatic && at.Registration != nil && at.Registration.ID() == id
	_, late := r.replaced[id]
	switch {
	case late && !known && at.ID != "" && !attached:
		return Backend{}, ErrReplaced
	case at.Source == SourceStatic:
		return at, nil
	case own.Addr != addr && r.filter.check(addr) != nil:
		return Backend{}, r.filter.check(addr)
	case !known && (others >= MaxRegistered || at.ID == "" && !r.makeRoom()):
		return Backend{}, ErrFull
	}
	return own, nil
}

// supersede returns all backends except b and those that b replaces, and the IDs
// of the latter.
func (r *Registry) supersede(b Backend, isNew bool, now time.Time) (left []Backend, gone []ID) {
	_, wasReplaced := r.replaced[b.Registration.ID()]
	for _, old := range r.Snapshot().Backends {
		sameServer := old.Registration.sameServer(b.Registration)
		switch {
		case old.ID == b.ID:
			if old.Source == SourceStatic && isNew && old.Registration != nil {
				r.noteReplaced(old.Registration.ID(), now)
			}
			continue
		case old.Source == SourceStatic && sameServer && isNew:
			old.Registration = nil // its process has another address now
		case old.Source == SourceStatic:
		case old.Addr == b.Addr, sameServer && isNew && !wasReplaced:
			gone = append(gone, old.ID)
			r.noteReplaced(old.ID, now)
			continue
		}
		left = append(left, old)
	}
	delete(r.replaced, b.Registration.ID())
	return left, gone
}

// noteReplaced remembers a process that was replaced.
func (r *Registry) noteReplaced(id ID, now time.Time) {
	if len(r.replaced) < MaxRegistered {
		r.replaced[id] = now
	}
}
