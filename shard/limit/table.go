package limit

// Ref names a place of a Table. The zero Ref names none.
type Ref uint32

// Table is a bounded map. An entry is held as often as Hold has returned it and Release
// has not given it back; nothing removes a held one. Of the others, which are idle, it
// keeps a fixed number: the one that was used the longest time ago makes room for the
// next. The map below hashes with a key of its own, so that nobody outside can choose
// buckets.
//
// The bound is therefore that of what holds entries, which is sessions, and the number of
// idle ones. An entry never moves.
type Table[K comparable, V any] struct {
	index   map[K]Ref
	chunks  []*[chunkSize]place[K, V]
	free    []Ref
	held    int
	idle    int
	maxIdle int
	// oldest and newest are the ends of the list of idle entries.
	oldest, newest Ref
}

type place[K comparable, V any] struct {
	key        K
	used       bool
	holds      uint32
	prev, next Ref // among the idle ones: older, newer
	value      V
}

const (
	chunkBits = 8
	chunkSize = 1 << chunkBits // places allocated at once
	chunkMask = chunkSize - 1
)

// NewTable returns a table that keeps so many idle entries, at least one.
func NewTable[K comparable, V any](maxIdle int) *Table[K, V] {
	return &Table[K, V]{index: make(map[K]Ref), maxIdle: max(maxIdle, 1)}
}

// Reserve makes room for so many entries at once.
func (t *Table[K, V]) Reserve(n int) {
	if len(t.index) == 0 {
		t.index = make(map[K]Ref, n)
	}
}

// Len returns the number of entries, Held that of those that are held.
func (t *Table[K, V]) Len() int { return t.held + t.idle }

// Held returns the number of entries that are held.
func (t *Table[K, V]) Held() int { return t.held }

// Places returns the number of places, which Slice can visit.
func (t *Table[K, V]) Places() int { return len(t.chunks) << chunkBits }

// At returns the value of an entry.
func (t *Table[K, V]) At(r Ref) *V { return &t.at(r).value }

func (t *Table[K, V]) at(r Ref) *place[K, V] { return &t.chunks[(r-1)>>chunkBits][(r-1)&chunkMask] }

// Find returns the value of a key, nil if the table has none.
func (t *Table[K, V]) Find(k K) *V {
	if r := t.index[k]; r != 0 {
		return &t.at(r).value
	}
	return nil
}

// Hold returns the entry of a key, a new one if there is none, and holds it.
func (t *Table[K, V]) Hold(k K) (Ref, *V) {
	r := t.index[k]
	if r == 0 {
		r = t.add(k)
	} else if t.at(r).holds == 0 {
		t.unlink(r)
	}
	p := t.at(r)
	if p.holds == 0 {
		t.held++
	}
	p.holds++
	return r, &p.value
}

// Release gives an entry back that Hold has returned.
func (t *Table[K, V]) Release(r Ref) {
	p := t.at(r)
	p.holds--
	if p.holds == 0 {
		t.held--
		t.append(r)
	}
}

// Use returns the value of a key without holding it, a new one if there is none. It is
// valid until the next call that may add an entry.
func (t *Table[K, V]) Use(k K) *V {
	r := t.index[k]
	switch {
	case r == 0:
		r = t.add(k)
		t.append(r)
	case t.at(r).holds == 0 && t.newest != r:
		t.unlink(r)
		t.append(r)
	}
	return &t.at(r).value
}

// Forget removes an entry, if it is idle.
func (t *Table[K, V]) Forget(r Ref) {
	if p := t.at(r); p.used && p.holds == 0 {
		t.remove(r)
	}
}

// add enters a key, neither held nor idle.
func (t *Table[K, V]) add(k K) Ref {
	if len(t.free) == 0 {
		base := Ref(len(t.chunks)) << chunkBits
		t.chunks = append(t.chunks, new([chunkSize]place[K, V]))
		for i := range Ref(chunkSize) {
			t.free = append(t.free, base+chunkSize-i)
		}
	}
	r := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	*t.at(r) = place[K, V]{key: k, used: true}
	t.index[k] = r
	return r
}

// append makes an entry the newest of the idle ones, and removes the oldest if these are
// too many.
func (t *Table[K, V]) append(r Ref) {
	if t.idle == t.maxIdle {
		t.remove(t.oldest)
	}
	p := t.at(r)
	p.prev, p.next = t.newest, 0
	if t.newest != 0 {
		t.at(t.newest).next = r
	} else {
		t.oldest = r
	}
	t.newest = r
	t.idle++
}

// unlink takes an entry out of the idle ones.
func (t *Table[K, V]) unlink(r Ref) {
	p := t.at(r)
	if p.prev != 0 {
		t.at(p.prev).next = p.next
	} else {
		t.oldest = p.next
	}
	if p.next != 0 {
		t.at(p.next).prev = p.prev
	} else {
		t.newest = p.prev
	}
	p.prev, p.next = 0, 0
	t.idle--
}

// remove removes an idle entry.
func (t *Table[K, V]) remove(r Ref) {
	t.unlink(r)
	delete(t.index, t.at(r).key)
	*t.at(r) = place[K, V]{}
	t.free = append(t.free, r)
}

// Slice calls visit for the entries of some places, from a place on, 0 at first. An idle
// entry is removed if visit returns false. It returns the next place, 0 at the end. visit
// must not add entries.
func (t *Table[K, V]) Slice(from, places int, visit func(k *K, v *V, held bool) (keep bool)) (next int) {
	all := t.Places()
	end := min(from+places, all)
	for i := from; i < end; i++ {
		p := t.at(Ref(i + 1))
		if p.used && !visit(&p.key, &p.value, p.holds > 0) && p.holds == 0 {
			t.remove(Ref(i + 1))
		}
	}
	if end == all {
		return 0
	}
	return end
}
