package balancer

import (
	"srtrelay/backend"
	"srtrelay/internal/chunks"
)

// leased is the session of one lease: on a backend, counted in the bindings of its
// group and its stream, which may be nil.
type leased struct {
	at            backend.ID
	group, stream *binding
	who           identity
	use           uint32 // number of the slot's use
	publish       bool
	chosen        bool // no binding required this backend
	established   bool // the session is established
	survived      bool // ... and counts among the survivors of its cohort
	proven        bool // ... and has lived for provenAfter
	trial         bool // tries a backend that returns from ejection
}

func (l *leased) cohort() cohort { return cohort{l.who.source, l.publish} }

// leases are the leases that were issued and not released. A lease is the number of a
// slot and of the slot's use, so that a released lease is never mistaken for its
// successor.
type leases struct {
	slots chunks.List[leased]
	free  []uint32
}

// issue adds a session and returns its lease.
func (l *leases) issue(s leased) backend.Lease {
	var i uint32
	if last := len(l.free) - 1; last >= 0 {
		i, l.free = l.free[last], l.free[:last]
	} else {
		i = uint32(l.slots.Len())
		l.slots.Extend(l.slots.Len() + 1)
	}
	slot := l.slots.At(i)
	s.use = slot.use + 1
	*slot = s
	return l.number(i)
}

// number returns the lease of a slot's present use, or of its last one.
func (l *leases) number(i uint32) backend.Lease {
	return backend.Lease(l.slots.At(i).use)<<32 | backend.Lease(i+1)
}

// find returns the session of a lease, nil if the lease is unknown.
func (l *leases) find(lease backend.Lease) *leased {
	i, use := uint32(lease)-1, uint32(lease>>32)
	if uint64(i) >= uint64(l.slots.Len()) {
		return nil
	}
	if p := l.slots.At(i); p.use == use && p.at != "" {
		return p
	}
	return nil
}

// release removes a lease and returns its session. It is false if the lease is
// unknown.
func (l *leases) release(lease backend.Lease) (leased, bool) {
	p := l.find(lease)
	if p == nil {
		return leased{}, false
	}
	s := *p
	*p = leased{use: s.use}
	l.free = append(l.free, uint32(lease)-1)
	return s, true
}
