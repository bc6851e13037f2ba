package udp

import "srtrelay/addr"

const (
	// unsegmentedMax is how many destinations without superpackets an outbox
	// remembers. One more replaces another, which then costs a refused
	// superpacket.
	unsegmentedMax = 1024
	// firstHold and longestHold bound the number of runs after which a
	// superpacket is tried again. The number doubles with each refusal.
	firstHold   = 64
	longestHold = 1 << 16
)

// unsegmented remembers the destinations to which the kernel refuses
// superpackets. It counts runs instead of time, because nothing on the path of a
// packet reads a clock.
//
// The reason is a device that cannot compute checksums, a tunnel or a small MTU on
// the route to a destination; a change of routes may end it.
type unsegmented struct {
	destinations map[addr.AddrPort]hold
}

// hold says how long a destination's runs leave as single datagrams.
type hold struct {
	// size is the smallest segment size that was refused: if the MTU is the
	// reason, smaller ones pass. It is 1 if the size is not the reason.
	size  int32
	left  int32 // runs until a superpacket is tried again
	after int32 // the value of left at the refusal
}

// holds reports whether a run of several datagrams must leave as single ones.
func (u *unsegmented) holds(r *run) bool {
	if len(u.destinations) == 0 {
		return false
	}
	h, known := u.destinations[r.to]
	if !known || r.size < h.size || h.left == 0 {
		return false
	}
	h.left--
	u.destinations[r.to] = h
	return true
}

// refused notes that the kernel refused a superpacket. sized means that its
// segment size may be the reason. It reports whether the destination is new.
func (u *unsegmented) refused(r *run, sized bool) bool {
	size := r.size
	if !sized {
		size = 1
	}
	h, known := u.destinations[r.to]
	switch {
	case !known:
		h = hold{size: size, after: firstHold}
		u.makeRoom()
	case h.left > 0: // the same flush: its runs were planned before the refusal
		h.size = min(h.size, size)
	default:
		h = hold{size: min(h.size, size), after: min(2*h.after, longestHold)}
	}
	h.left = h.after
	u.destinations[r.to] = h
	return !known
}

// makeRoom makes room for one destination more.
func (u *unsegmented) makeRoom() {
	if u.destinations == nil {
		u.destinations = make(map[addr.AddrPort]hold)
	}
	if len(u.destinations) < unsegmentedMax {
		return
	}
	for other := range u.destinations {
		delete(u.destinations, other)
		return
	}
}

// passed notes that a superpacket was sent: its destination takes them again.
func (u *unsegmented) passed(r *run) {
	if h, known := u.destinations[r.to]; known && r.size >= h.size {
		delete(u.destinations, r.to)
	}
}
