package balancer

import "srtrelay/backend"

// held is what one lease holds: a session at a backend, counted in the stays of
// its group and its stream; nil for none.
type held struct {
	at            backend.ID
	group, stream *stay
	use           uint32 // of this place
}

// leases are all leases that were given and not returned. A lease is a place
// in a list and the number of the place's use, so that 100,000 of them are
// 4 MB and one that was returned is never taken for its successor.
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

// take removes a lease and returns what it held; false if it is not known.
func (l *leases) take(lease backend.Lease) (held, bool) {
	i, use := uint32(lease)-1, uint32(lease>>32)
	if uint64(i) >= uint64(len(l.places)) || l.places[i].use != use || l.places[i].at == "" {
		return held{}, false
	}
	h := l.places[i]
	l.places[i] = held{use: use}
	l.free = append(l.free, i)
	return h, true
}
