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
	// own is where later callers go. It is part of the stay, for most homes
	// have no other place, and there are as many homes as streams.
	own place
	// others are places with sessions. There are some only while a group keeps
	// a member with its mates, or while the sessions on a backend that is lost
	// have not ended yet.
	others []place
	left   time.Duration // when the last session ended
}

// place is what a home has on one backend.
type place struct {
	at       backend.ID
	sessions int32 // leases, pending handshakes among them
	begun    int32 // ... whose session is established
	// publishers are the established ones that publish.
	publishers int32
	// proven says that a session has lived here for provenAfter. A home that
	// is not proven does not outlive its last session.
	proven bool
}

func (s *stay) sessions() int {
	n := int(s.own.sessions)
	for _, p := range s.others {
		n += int(p.sessions)
	}
	return n
}

// place returns the home's place on a backend, nil if it has none.
func (s *stay) place(id backend.ID) *place {
	if s.own.at == id {
		return &s.own
	}
	if i := s.other(id); i >= 0 {
		return &s.others[i]
	}
	return nil
}

// other returns the index of a backend among the others, -1 if it is not there.
func (s *stay) other(id backend.ID) int {
	return slices.IndexFunc(s.others, func(p place) bool { return p.at == id })
}

// move makes a backend the home's own.
func (s *stay) move(id backend.ID) {
	if s.own.at == id {
		return
	}
	was := s.own
	s.own = place{at: id}
	if i := s.other(id); i >= 0 {
		s.own = s.others[i]
		s.others = slices.Delete(s.others, i, i+1)
	}
	if was.sessions > 0 {
		s.others = slices.Insert(s.others, 0, was)
	}
}

// enter counts a session at a backend.
func (s *stay) enter(id backend.ID) {
	if p := s.place(id); p != nil {
		p.sessions++
		return
	}
	s.others = append(s.others, place{at: id, sessions: 1})
}

// begin counts a session as established.
func (s *stay) begin(h held) {
	if p := s.place(h.at); p != nil {
		p.begun++
		if h.publish {
			p.publishers++
		}
	}
}

// leave counts a session off. When the home's own place empties while there
// are sessions elsewhere, the home is there.
func (s *stay) leave(h held) {
	p := s.place(h.at)
	if p == nil || p.sessions == 0 {
		return
	}
	p.sessions--
	if h.begun {
		p.begun--
		if h.publish {
			p.publishers--
		}
	}
	switch {
	case p.sessions > 0 || len(s.others) == 0:
	case p == &s.own:
		s.own = s.others[0]
		s.others = slices.Delete(s.others, 0, 1)
	default:
		i := s.other(h.at)
		s.others = slices.Delete(s.others, i, i+1)
	}
}

// departure is a home that has lost its last session.
type departure struct {
	from *stay
	at   time.Duration
}

// homes are all homes that have sessions, or had some shortly ago. Times are by
// Memory.clock: a third of a time.Time.
type homes struct {
	stays map[Home]*stay
	// departed is in the order of time: forgetting must not cost a walk over
	// all homes.
	departed []departure
}

// leave counts a session off at a stay; nil is none. A home that loses its last
// session before one has proven the backend is dropped, and returned.
func (hs *homes) leave(st *stay, h held, now time.Duration) (dropped Binding, ok bool) {
	if st == nil {
		return Binding{}, false
	}
	st.leave(h)
	switch {
	case st.sessions() > 0:
	case !st.own.proven:
		if hs.stays[st.home] == st {
			delete(hs.stays, st.home)
			return Binding{Home: st.home, At: st.own.at}, true
		}
	default:
		st.left = now
		hs.departed = append(hs.departed, departure{st, now})
	}
	return Binding{}, false
}

// prove notes that a session of a stay has lived at a backend. A publisher
// takes the home along from where nobody publishes, and whoever is first takes
// it from where nothing is proven: later callers go where the stream is.
func (s *stay) prove(h held) {
	p := s.place(h.at)
	if p == nil {
		return
	}
	p.proven = true
	if p != &s.own && (h.publish && s.own.publishers == 0 || s.own.begun == 0 && !s.own.proven) {
		s.move(h.at)
	}
}

// Binding is where later callers of a home go.
type Binding struct {
	Home Home
	At   backend.ID
	// Proven says that a session has lived there, Published that the home has
	// an established publisher there.
	Proven, Published bool
}

// forget drops the homes that lost their last session at or before a time.
func (hs *homes) forget(until time.Duration) {
	n := 0
	for n < len(hs.departed) && hs.departed[n].at <= until {
		st := hs.departed[n].from
		n++
		// It may have had sessions again since, and have lost them later. It
		// may also be forgotten already, and another stay have its home.
		if st.sessions() == 0 && st.left <= until && hs.stays[st.home] == st {
			delete(hs.stays, st.home)
		}
	}
	hs.departed = hs.departed[n:]
}
