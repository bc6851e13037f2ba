package balancer

import (
	"slices"
	"time"

	"srtrelay/backend"
)

// Home names what must stay on one backend: a stream by its key, or a bonding
// group by its ID. The zero Home is none.
type Home struct {
	Key   string
	Group uint32
}

// HomesOf returns the homes of a query in the order in which they decide. The
// group comes first, the zero Home without one: libsrt finds the mirror of a
// group in its own process only.
func HomesOf(q backend.Query) (group, stream Home) {
	return Home{Group: q.Group}, Home{Key: q.Key}
}

// stay is where the sessions of a home are.
type stay struct {
	home Home
	// places, at least one; the first is the home's own, where later callers
	// go. More than one only while a group keeps a member with its mates, or
	// while the sessions on a backend that is lost have not ended yet.
	places []place
	leftAt time.Time // when the last session ended
}

type place struct {
	at       backend.ID
	sessions int
}

func (s *stay) sessions() (n int) {
	for _, p := range s.places {
		n += p.sessions
	}
	return n
}

// own makes a backend the home's own, and drops places without sessions.
func (s *stay) own(id backend.ID) {
	first := place{at: id}
	s.places = slices.DeleteFunc(s.places, func(p place) bool {
		if p.at == id {
			first = p
		}
		return p.at == id || p.sessions == 0
	})
	s.places = slices.Insert(s.places, 0, first)
}

// enter counts a session at a backend.
func (s *stay) enter(id backend.ID) {
	i := slices.IndexFunc(s.places, func(p place) bool { return p.at == id })
	if i < 0 {
		i = len(s.places)
		s.places = append(s.places, place{at: id})
	}
	s.places[i].sessions++
}

// leave counts a session off. When the home's own place empties while there
// are sessions elsewhere, the home is there.
func (s *stay) leave(id backend.ID) {
	i := slices.IndexFunc(s.places, func(p place) bool { return p.at == id })
	if i < 0 || s.places[i].sessions == 0 {
		return
	}
	if s.places[i].sessions--; s.places[i].sessions == 0 && len(s.places) > 1 {
		s.places = slices.Delete(s.places, i, i+1)
	}
}

// departure is a home that has lost its last session.
type departure struct {
	from *stay
	at   time.Time
}

// homes are all homes that have sessions, or had some shortly ago.
type homes struct {
	stays map[Home]*stay
	// departed is in the order of time: forgetting must not cost a walk over
	// all homes.
	departed []departure
}

// leave counts a session off at a stay; nil is none.
func (hs *homes) leave(st *stay, id backend.ID, now time.Time) {
	if st == nil {
		return
	}
	st.leave(id)
	if st.sessions() == 0 {
		st.leftAt = now
		hs.departed = append(hs.departed, departure{st, now})
	}
}

// forget drops the homes that lost their last session at or before a time.
func (hs *homes) forget(until time.Time) {
	n := 0
	for n < len(hs.departed) && !hs.departed[n].at.After(until) {
		st := hs.departed[n].from
		n++
		// It may have had sessions again since, and have lost them later. It
		// may also be forgotten already, and another stay have its home.
		if st.sessions() == 0 && !st.leftAt.After(until) && hs.stays[st.home] == st {
			delete(hs.stays, st.home)
		}
	}
	hs.departed = hs.departed[n:]
}
