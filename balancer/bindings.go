package balancer

import (
	"hash/maphash"
	"iter"
	"slices"
	"time"

	"srtrelay/backend"
)

// AffinityKey names what stays on one backend: a stream by its key, or a bonding
// group by its ID. The zero AffinityKey names nothing.
type AffinityKey struct {
	Stream string
	Group  uint32
}

// AffinityKeys returns the keys of a query in order of precedence. The group, which is
// the zero AffinityKey if there is none, comes first: libsrt joins the members of a
// group only within one process.
func AffinityKeys(q backend.Query) (group, stream AffinityKey) {
	return AffinityKey{Group: q.Group}, AffinityKey{Stream: q.Key}
}

// binding says which backends serve the sessions of a key.
type binding struct {
	// stream and group are its key, and index is its own in the snapshot that is being
	// written, plus 1. They are in this order because it leaves no gap.
	stream       string
	group, index uint32
	// current is where later callers go. It is a value, because most bindings
	// have no other placement, and there are as many bindings as streams.
	current placement
	// elsewhere are placements on other backends that have sessions, nil for none. There
	// are some while the bonding group of a caller is elsewhere than its stream, and while
	// the sessions on a lost backend have not ended yet.
	elsewhere *[]placement
	emptied   time.Duration // when the last session ended
	next      *binding      // another one whose key has the same hash
}

func (b *binding) key() AffinityKey { return AffinityKey{b.stream, b.group} }

// placement is the sessions of a key on one backend.
type placement struct {
	at          backend.ID
	sessions    int32 // leases, including pending handshakes
	established int32 // leases whose session is established
	publishers  int32 // established sessions that publish
	// proven means that a session has lived here for provenAfter. A binding
	// that is not proven ends with its last session.
	proven bool
}

// others returns the placements on other backends. They are valid until setOthers.
func (b *binding) others() []placement {
	if b.elsewhere == nil {
		return nil
	}
	return *b.elsewhere
}

func (b *binding) setOthers(all []placement) {
	if len(all) == 0 {
		b.elsewhere = nil
		return
	}
	b.elsewhere = &all
}

func (b *binding) sessions() int {
	n := int(b.current.sessions)
	for _, p := range b.others() {
		n += int(p.sessions)
	}
	return n
}

// placementAt returns the placement on a backend, nil for none.
func (b *binding) placementAt(id backend.ID) *placement {
	if b.current.at == id {
		return &b.current
	}
	if i := b.indexOf(id); i >= 0 {
		return &b.others()[i]
	}
	return nil
}

// indexOf returns the index of a backend among the others, -1 for none.
func (b *binding) indexOf(id backend.ID) int {
	return slices.IndexFunc(b.others(), func(p placement) bool { return p.at == id })
}

// rebind sends later callers to a backend.
func (b *binding) rebind(id backend.ID) {
	if b.current.at == id {
		return
	}
	was := b.current
	b.current = placement{at: id}
	if i := b.indexOf(id); i >= 0 {
		b.current = b.others()[i]
		b.setOthers(slices.Delete(b.others(), i, i+1))
	}
	if was.sessions > 0 {
		b.setOthers(slices.Insert(b.others(), 0, was))
	}
}

// addSession counts a session on a backend.
func (b *binding) addSession(id backend.ID) {
	if p := b.placementAt(id); p != nil {
		p.sessions++
		return
	}
	b.setOthers(append(b.others(), placement{at: id, sessions: 1}))
}

// establish counts a session as established.
func (b *binding) establish(l leased) {
	if p := b.placementAt(l.at); p != nil {
		p.established++
		if l.publish {
			p.publishers++
		}
	}
}

// removeSession removes a session. If the current placement has none left and
// another one has, later callers go there.
func (b *binding) removeSession(l leased) {
	p := b.placementAt(l.at)
	if p == nil || p.sessions == 0 {
		return
	}
	p.sessions--
	if l.established {
		p.established--
		if l.publish {
			p.publishers--
		}
	}
	switch {
	case p.sessions > 0 || len(b.others()) == 0:
	case p == &b.current:
		b.current = b.others()[0]
		b.setOthers(slices.Delete(b.others(), 0, 1))
	default:
		i := b.indexOf(l.at)
		b.setOthers(slices.Delete(b.others(), i, i+1))
	}
}

// emptyBinding is a binding that has lost its last session.
type emptyBinding struct {
	binding *binding
	at      time.Duration
}

// bindings are all bindings that have sessions, or had some until recently. Times
// are those of Memory.clock, a third of the size of a time.Time.
type bindings struct {
	// byHash has the bindings by the hash of their key: by the key itself the map would take
	// twice the memory, and a binding has its key anyway.
	byHash map[uint64]*binding
	seed   maphash.Seed
	count  int
	// emptied is in order of time, so that expire does not walk all bindings.
	emptied []emptyBinding
}

// newBindings returns bindings with room for so many.
func newBindings(n int) bindings {
	return bindings{byHash: make(map[uint64]*binding, n), seed: maphash.MakeSeed()}
}

// of returns the binding of a key, nil for none.
func (bs *bindings) of(key AffinityKey) *binding {
	b := bs.byHash[maphash.Comparable(bs.seed, key)]
	for b != nil && b.key() != key {
		b = b.next
	}
	return b
}

// add adds a binding whose key has none.
func (bs *bindings) add(b *binding) {
	hash := maphash.Comparable(bs.seed, b.key())
	b.next = bs.byHash[hash]
	bs.byHash[hash] = b
	bs.count++
}

// remove removes a binding. It is false if it was removed before.
func (bs *bindings) remove(b *binding) bool {
	hash := maphash.Comparable(bs.seed, b.key())
	switch at := bs.byHash[hash]; {
	case at != b:
		for at != nil && at.next != b {
			at = at.next
		}
		if at == nil {
			return false
		}
		at.next = b.next
	case b.next == nil:
		delete(bs.byHash, hash)
	default:
		bs.byHash[hash] = b.next
	}
	b.next = nil
	bs.count--
	return true
}

// all returns every binding.
func (bs *bindings) all() iter.Seq[*binding] {
	return func(yield func(*binding) bool) {
		for _, b := range bs.byHash {
			for ; b != nil; b = b.next {
				if !yield(b) {
					return
				}
			}
		}
	}
}

// placementOf returns a key's placement on a backend, nil for none.
func (bs *bindings) placementOf(key AffinityKey, id backend.ID) *placement {
	b := bs.of(key)
	if b == nil {
		return nil
	}
	return b.placementAt(id)
}

// removeSession removes a session from a binding, which may be nil. A binding that
// loses its last session before one has proven the backend is dropped and returned;
// Published then says of that session whether it was a publisher's.
func (bs *bindings) removeSession(b *binding, l leased, now time.Duration) (dropped Binding, ok bool) {
	if b == nil {
		return Binding{}, false
	}
	b.removeSession(l)
	switch {
	case b.sessions() > 0:
	case !b.current.proven:
		if bs.remove(b) {
			return Binding{Key: b.key(), At: b.current.at, Published: l.publish}, true
		}
	default:
		b.emptied = now
		bs.emptied = append(bs.emptied, emptyBinding{b, now})
	}
	return Binding{}, false
}

// prove notes that a session has proven its backend. Later callers go where the stream
// is: a proven publisher moves the binding from a backend without one, and the first
// proven session from a backend that is not proven.
func (b *binding) prove(l leased) {
	p := b.placementAt(l.at)
	if p == nil {
		return
	}
	p.proven = true
	if p != &b.current && (l.publish && b.current.publishers == 0 || b.current.established == 0 && !b.current.proven) {
		b.rebind(l.at)
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
func (bs *bindings) expire(until time.Duration) {
	n := 0
	for n < len(bs.emptied) && bs.emptied[n].at <= until {
		b := bs.emptied[n].binding
		n++
		// It may have got sessions again since, or it may have been dropped and
		// replaced by another binding.
		if b.sessions() == 0 && b.emptied <= until {
			bs.remove(b)
		}
	}
	bs.emptied = bs.emptied[n:]
}
