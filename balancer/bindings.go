package balancer

import (
	"slices"
	"time"

	"srtrelay/backend"
)

// AffinityKey names what stays on one backend: a stream by its key, or a bonding
// group by its ID. The zero AffinityKey is none.
type AffinityKey struct {
	Stream string
	Group  uint32
}

// AffinityKeys returns the keys of a query in order of precedence. The group comes
// first, the zero AffinityKey without one, because libsrt finds the mirror of a
// group only in its own process.
func AffinityKeys(q backend.Query) (group, stream AffinityKey) {
	return AffinityKey{Group: q.Group}, AffinityKey{Stream: q.Key}
}

// binding says which backends have the sessions of a key.
type binding struct {
	key AffinityKey
	// current is where later callers go. It is a value, because most bindings
	// have no other placement, and there are as many bindings as streams.
	current placement
	// others are placements with sessions elsewhere. There are some only while a
	// group keeps a member with the others, or while the sessions on a lost
	// backend have not ended yet.
	others  []placement
	emptied time.Duration // when the last session ended
}

// placement is the sessions of a key on one backend.
type placement struct {
	at          backend.ID
	sessions    int32 // leases, pending handshakes among them
	established int32 // ... whose session is established
	// publishers are the established ones that publish.
	publishers int32
	// proven means that a session has lived here for provenAfter. A binding
	// that is not proven ends with its last session.
	proven bool
}

func (s *binding) sessions() int {
	n := int(s.current.sessions)
	for _, p := range s.others {
		n += int(p.sessions)
	}
	return n
}

// placementAt returns the placement on a backend, nil for none.
func (s *binding) placementAt(id backend.ID) *placement {
	if s.current.at == id {
		return &s.current
	}
	if i := s.indexOf(id); i >= 0 {
		return &s.others[i]
	}
	return nil
}

// indexOf returns the index of a backend among the others, -1 for none.
func (s *binding) indexOf(id backend.ID) int {
	return slices.IndexFunc(s.others, func(p placement) bool { return p.at == id })
}

// rebind sends later callers to a backend.
func (s *binding) rebind(id backend.ID) {
	if s.current.at == id {
		return
	}
	was := s.current
	s.current = placement{at: id}
	if i := s.indexOf(id); i >= 0 {
		s.current = s.others[i]
		s.others = slices.Delete(s.others, i, i+1)
	}
	if was.sessions > 0 {
		s.others = slices.Insert(s.others, 0, was)
	}
}

// addSession counts a session on a backend.
func (s *binding) addSession(id backend.ID) {
	if p := s.placementAt(id); p != nil {
		p.sessions++
		return
	}
	s.others = append(s.others, placement{at: id, sessions: 1})
}

// establish counts a session as established.
func (s *binding) establish(h leased) {
	if p := s.placementAt(h.at); p != nil {
		p.established++
		if h.publish {
			p.publishers++
		}
	}
}

// removeSession removes a session. If the current placement has none left and
// another one has, later callers go there.
func (s *binding) removeSession(h leased) {
	p := s.placementAt(h.at)
	if p == nil || p.sessions == 0 {
		return
	}
	p.sessions--
	if h.established {
		p.established--
		if h.publish {
			p.publishers--
		}
	}
	switch {
	case p.sessions > 0 || len(s.others) == 0:
	case p == &s.current:
		s.current = s.others[0]
		s.others = slices.Delete(s.others, 0, 1)
	default:
		i := s.indexOf(h.at)
		s.others = slices.Delete(s.others, i, i+1)
	}
}

// emptied is a binding that has lost its last session.
type emptied struct {
	binding *binding
	at      time.Duration
}

// bindings are all bindings that have sessions, or had some until recently. Times
// are those of Memory.clock, a third of the size of a time.Time.
type bindings struct {
	byKey map[AffinityKey]*binding
	// emptied is in order of time, so that expire need not walk all bindings.
	emptied []emptied
}

// removeSession removes a session from a binding, which may be nil. A binding that
// loses its last session before one has proven the backend is dropped and returned.
func (hs *bindings) removeSession(st *binding, h leased, now time.Duration) (dropped Binding, ok bool) {
	if st == nil {
		return Binding{}, false
	}
	st.removeSession(h)
	switch {
	case st.sessions() > 0:
	case !st.current.proven:
		if hs.byKey[st.key] == st {
			delete(hs.byKey, st.key)
			return Binding{Key: st.key, At: st.current.at}, true
		}
	default:
		st.emptied = now
		hs.emptied = append(hs.emptied, emptied{st, now})
	}
	return Binding{}, false
}

// prove notes that a session has proven a backend. Later callers go where the stream
// is: a publisher moves the binding from a backend without a publisher, and the
// first session from a backend that is not proven.
func (s *binding) prove(h leased) {
	p := s.placementAt(h.at)
	if p == nil {
		return
	}
	p.proven = true
	if p != &s.current && (h.publish && s.current.publishers == 0 || s.current.established == 0 && !s.current.proven) {
		s.rebind(h.at)
	}
}

// Binding says where later callers of a key go.
type Binding struct {
	Key AffinityKey
	At  backend.ID
	// Proven means that a session has proven the backend, Published that there
	// is an established publisher.
	Proven, Published bool
}

// expire drops the bindings that lost their last session at or before a time.
func (hs *bindings) expire(until time.Duration) {
	n := 0
	for n < len(hs.emptied) && hs.emptied[n].at <= until {
		st := hs.emptied[n].binding
		n++
		// It may have had sessions again since. It may also be dropped already,
		// and another binding have its key.
		if st.sessions() == 0 && st.emptied <= until && hs.byKey[st.key] == st {
			delete(hs.byKey, st.key)
		}
	}
	hs.emptied = hs.emptied[n:]
}
