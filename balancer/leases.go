package balancer

import "srtrelay/backend"

// held is what one lease holds: a session at a backend, counted in the stays of
// its group and its stream; nil for none.
type held struct {
	at            backend.ID
	group, stream *stay
	who           identity
	use           uint32 // of this place
	publish       bool
	chosen        bool // no home said that it has to be this backend
	begun         bool // the session is established
	counted       bool // ... and counts among its source's living ones
	lived         bool // ... and has lived for provenAfter
	trial         bool // of a backend that returns from ejection
}

// leases are all leases that were given and not returned. A lease is a place
// in a list and the number of the place's use, so that 100,000 of them are
// 8 MB and one that was returned is never taken for its successor.
type leases struct {
	places []held
	free   []uint32
}

// len is the number of leases given and not returned.
func (l *leases) len() int { return len(l.places) - len(l.free) }

// give enters h and returns the lease by which to take it out.
func (l *leases) give(h held) backend.Lease {
	var i uint32
	if last := len(l.free) - 1; last >= 0 {
		i, l.free = l.free[last], l.free[:last]
	} else {
		i = uint32(len(l.places))
		l.places = append(l.places, held{})
	}
	h.use = l.places[i].use + 1
	l.places[i] = h
	return backend.Lease(h.use)<<32 | backend.Lease(i+1)
}

// find returns what a lease holds, nil if it is not known. It is a view that
// holds until the next give.
func (l *leases) find(lease backend.Lease) *held {
	i, use := uint32(lease)-1, uint32(lease>>32)
	if uint64(i) >= uint64(len(l.places)) || l.places[i].use != use || l.places[i].at == "" {
		return nil
	}
	return &l.places[i]
}

// take removes a lease and returns what it held; false if it is not known.
func (l *leases) take(lease backend.Lease) (held, bool) {
	p := l.find(lease)
	if p == nil {
		return held{}, false
	}
	h := *p
	*p = held{use: h.use}
	l.free = append(l.free, uint32(lease)-1)
	return h, true
}
