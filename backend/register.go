package backend

import (
	"errors"
	"net/netip"
	"time"
)

// MaxRegistered is the most backends that may be known at one time beside the
// static ones, by heartbeat and from a shared store together: far more than one
// relay can fill, and a bound for who registers without end.
const MaxRegistered = 4096

// Why a registration is refused.
var (
	// ErrFull says that MaxRegistered is reached.
	ErrFull = errors.New("too many registered backends")
	// ErrReplaced says that another process has since registered from the
	// same address: this heartbeat is a late one of its predecessor.
	ErrReplaced = errors.New("replaced by another process at the same address")
	// ErrTaken says that the registration's ID is the one of a static backend
	// elsewhere.
	ErrTaken = errors.New("is the name of a static backend")
)

// Arrival is what a heartbeat has brought about.
type Arrival struct {
	Backend Backend
	// New is true for the first heartbeat of a process.
	New bool
	// Replaced are the entries that gave way: the same server before its
	// restart.
	Replaced []ID
}

// Register takes the heartbeat of a server at addr, which is good for ttl. The
// error begins with the field that is to blame, or is one of the sentinels.
//
// A process that is known has its time extended, and nothing else, as long as
// it says the same. A new one takes streams from its first answer to a probe
// on. It replaces what was registered under its server ID or its address, for
// that must be itself before a restart; except that two processes which are
// both seen alive under one server ID (a cloned disk) are left to live.
//
// A static backend at addr stays what it is: it takes the registration on, so
// that it is known by its SRS names too, and needs no further heartbeat.
func (r *Registry) Register(reg Registration, addr netip.AddrPort, now time.Time, ttl time.Duration) (Arrival, error) {
	if err := reg.Check(); err != nil {
		return Arrival{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	old, err := r.registrant(&reg, addr)
	if err != nil {
		return Arrival{}, err
	}
	b := old
	switch {
	case b.ID == "":
		b = Backend{ID: reg.ID(), Addr: addr, Down: true, Weight: 1, Added: now}
	case b.Addr != addr:
		b.Addr, b.Down = addr, true // nobody has answered there yet
	}
	p := r.pulse(b.ID)
	p.heard = now
	if b.Source != Static {
		b.Source, b.Host = Registered, addr.String()
		p.due = now.Add(ttl)
		p.shown = p.due.Add(ttl / expiresParts)
		if b.Expires.Before(p.due) {
			b.Expires = p.shown
		}
	}
	if !b.Registration.equal(&reg) {
		b.Registration = &reg
	}
	a := Arrival{New: old.Registration == nil || old.Registration.ID() != reg.ID()}
	if b != old {
		var all []Backend
		all, a.Replaced = r.giveWay(b, a.New, now)
		r.publish(append(all, b))
	}
	if b.Down && b.Addr == old.Addr { // else publish has told of it
		r.tell(b.ID)
	}
	a.Backend, _ = r.Snapshot().Find(b.ID)
	return a, nil
}

// registrant returns the entry that a registration goes on with: its own, that
// of the static backend at its address, or the zero Backend for a new one.
func (r *Registry) registrant(reg *Registration, addr netip.AddrPort) (Backend, error) {
	id := reg.ID()
	own, known := r.Snapshot().Find(id)
	if known && own.Source == Static && own.Addr != addr {
		return Backend{}, ErrTaken
	}
	var at Backend // who else is at the address
	others := 0
	for _, b := range r.Snapshot().Backends {
		switch {
		case b.ID == id:
		case b.Addr == addr:
			if at.Source != Static {
				at = b
			}
		case b.Source == Registered && !b.Registration.sameServer(reg):
			others++
		}
	}
	attached := at.Source == Static && at.Registration != nil && at.Registration.ID() == id
	_, late := r.replaced[id]
	switch {
	case late && !known && at.ID != "" && !attached:
		return Backend{}, ErrReplaced
	case at.Source == Static:
		return at, nil
	case own.Addr != addr && r.gate.check(addr) != nil:
		return Backend{}, r.gate.check(addr)
	case !known && (others >= MaxRegistered || at.ID == "" && !r.makePlace()):
		return Backend{}, ErrFull
	}
	return own, nil
}

// giveWay returns all backends but b and those that b replaces, which it names.
func (r *Registry) giveWay(b Backend, isNew bool, now time.Time) (left []Backend, gone []ID) {
	_, wasReplaced := r.replaced[b.Registration.ID()]
	for _, old := range r.Snapshot().Backends {
		sameServer := old.Registration.sameServer(b.Registration)
		switch {
		case old.ID == b.ID:
			if old.Source == Static && isNew && old.Registration != nil {
				r.note(old.Registration.ID(), now)
			}
			continue
		case old.Source == Static && sameServer && isNew:
			old.Registration = nil // its process is elsewhere now
		case old.Source == Static:
		case old.Addr == b.Addr, sameServer && isNew && !wasReplaced:
			gone = append(gone, old.ID)
			r.note(old.ID, now)
			continue
		}
		left = append(left, old)
	}
	delete(r.replaced, b.Registration.ID())
	return left, gone
}

// note remembers a process that was replaced.
func (r *Registry) note(id ID, now time.Time) {
	if len(r.replaced) < MaxRegistered {
		r.replaced[id] = now
	}
}
