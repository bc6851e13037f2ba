package shard

// Table finds a session by one of the three keys it is known under. It is
// open addressing over plain 8-byte slots, with nothing for the garbage
// collector to walk; the keys themselves stay in the sessions, so the shard
// compares what a slot refers to. It belongs to one shard.
//
// Slots of equal hash are found by linear probing; a removal shifts the
// following ones back, so there are no tombstones to age.
type Table struct {
	slots []slot
	mask  uint32
	used  int
}

// slot is empty when ref is 0.
type slot struct {
	hash uint32
	ref  ref
}

// role says which of a session's keys a slot stands for.
type role uint32

const (
	// roleFront: listener, caller address, the backend's socket ID. What
	// session traffic from a caller bears.
	roleFront role = 1
	// roleBack: local port, backend address, the caller's socket ID. What
	// every datagram from a backend bears.
	roleBack role = 2
	// roleCaller: listener, caller address, the caller's own socket ID. What
	// a handshake to the listener bears.
	roleCaller role = 3
)

// ref is a session's index and the role of the key; never 0.
type ref uint32

func makeRef(index uint32, r role) ref { return ref(index<<2 | uint32(r)) }

func (r ref) index() uint32 { return uint32(r) >> 2 }
func (r ref) role() role    { return role(r & 3) }

// indexLimit is what a ref's 30 bits of index can name.
const indexLimit = 1 << 30

// minSlots holds a thousand sessions before the first growth: 32 KiB.
const minSlots = 4096

func newTable() Table {
	return Table{slots: make([]slot, minSlots), mask: minSlots - 1}
}

// probe walks the slots of one hash:
//
//	for p := t.probe(hash); t.next(&p); { ... p.ref ... }
type probe struct {
	hash, at uint32
	ref      ref
}

func (t *Table) probe(hash uint32) probe { return probe{hash: hash, at: hash - 1} }

func (t *Table) next(p *probe) bool {
	for {
		p.at++
		s := t.slots[p.at&t.mask]
		if s.ref == 0 {
			return false
		}
		if s.hash == p.hash {
			p.ref = s.ref
			return true
		}
	}
}

// insert adds a slot. The caller has checked that the key is not taken.
func (t *Table) insert(hash uint32, r ref) {
	// 5/8 keeps linear probing to a handful of slots of one cache line.
	if t.used >= len(t.slots)/8*5 {
		t.grow()
	}
	t.place(slot{hash, r})
	t.used++
}

func (t *Table) place(s slot) {
	i := s.hash & t.mask
	for t.slots[i].ref != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = s
}

// grow doubles the table. It reads slots only, no session: some 2 ms for the
// 300,000 keys of 100,000 sessions.
func (t *Table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	t.mask = uint32(len(t.slots) - 1)
	for _, s := range old {
		if s.ref != 0 {
			t.place(s)
		}
	}
}

// remove deletes the slot; it reports whether there was one.
func (t *Table) remove(hash uint32, r ref) bool {
	i := hash & t.mask
	for t.slots[i] != (slot{hash, r}) {
		if t.slots[i].ref == 0 {
			return false
		}
		i = (i + 1) & t.mask
	}
	t.used--
	for {
		t.slots[i] = slot{}
		hole := i
		for {
			i = (i + 1) & t.mask
			s := t.slots[i]
			if s.ref == 0 {
				return true
			}
			// s may move into the hole unless its home lies behind it.
			if home := s.hash & t.mask; (i-home)&t.mask >= (i-hole)&t.mask {
				t.slots[hole] = s
				break
			}
		}
	}
}
