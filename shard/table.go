package shard

import (
	"math/bits"

	"srtrelay/addr"
	"srtrelay/shard/owners"
)

// byFront finds the session of a datagram from a caller.
func (s *sessions) byFront(front uint8, caller *addr.AddrPort, id uint32) (uint32, *session) {
	for p := s.table.probe(s.hash(keyFront, front, caller, id)); s.table.next(&p); {
		if p.ref.kind() != keyFront {
			continue
		}
		i := p.ref.index()
		if ss := s.at(i); ss.backendID == id && ss.front == front && ss.caller == *caller {
			return i, ss
		}
	}
	return 0, nil
}

// byBack finds the session of a datagram from a backend.
func (s *sessions) byBack(upstream uint8, from *addr.AddrPort, id uint32) (uint32, *session) {
	for p := s.table.probe(s.hash(keyBack, upstream, from, id)); s.table.next(&p); {
		if p.ref.kind() != keyBack {
			continue
		}
		i := p.ref.index()
		if ss := s.at(i); ss.callerID == id && ss.upstream == upstream && ss.backend == *from {
			return i, ss
		}
	}
	return 0, nil
}

// byCaller finds the session that a caller's handshake is about.
func (s *sessions) byCaller(front uint8, caller *addr.AddrPort, id uint32) (uint32, *session) {
	for p := s.table.probe(s.hash(keyCaller, front, caller, id)); s.table.next(&p); {
		if p.ref.kind() != keyCaller {
			continue
		}
		i := p.ref.index()
		if ss := s.at(i); ss.callerID == id && ss.front == front && ss.caller == *caller {
			return i, ss
		}
	}
	return 0, nil
}

// hash mixes what the three keys of a session (see keyKind) have in common: an
// endpoint, a socket ID, and the index of one of the shard's sockets.
func (s *sessions) hash(k keyKind, socket uint8, a *addr.AddrPort, id uint32) uint32 {
	h := a.Hash(s.seed ^ uint64(id)<<16 ^ uint64(socket)<<8 ^ uint64(k))
	return uint32(h ^ h>>32)
}

// keyCaller enters a session under the caller's own socket ID, which must not be in
// use.
func (s *sessions) keyCaller(i uint32, ss *session) {
	ss.hasCallerKey = true
	s.table.insert(s.hash(keyCaller, ss.front, &ss.caller, ss.callerID), makeRef(i, keyCaller))
}

// keyBack enters a session under its upstream socket and its backend.
func (s *sessions) keyBack(i uint32, ss *session) {
	s.table.insert(s.hash(keyBack, ss.upstream, &ss.backend, ss.callerID), makeRef(i, keyBack))
}

// keyFront enters a session under the backend's socket ID.
func (s *sessions) keyFront(i uint32, ss *session) {
	s.table.insert(s.hash(keyFront, ss.front, &ss.caller, ss.backendID), makeRef(i, keyFront))
}

// unkeyCaller makes the caller's socket ID free for another session.
func (s *sessions) unkeyCaller(i uint32, ss *session) {
	if ss.hasCallerKey {
		ss.hasCallerKey = false
		s.table.remove(s.hash(keyCaller, ss.front, &ss.caller, ss.callerID), makeRef(i, keyCaller))
	}
}

// unkeyBack removes the key of the backend that the session was dialled to.
func (s *sessions) unkeyBack(i uint32, ss *session) {
	if ss.backend.IsValid() {
		s.table.remove(s.hash(keyBack, ss.upstream, &ss.backend, ss.callerID), makeRef(i, keyBack))
		ss.backend = addr.AddrPort{}
	}
}

// unkey removes all keys of a session.
func (s *sessions) unkey(i uint32, ss *session) {
	s.unkeyCaller(i, ss)
	s.unkeyBack(i, ss)
	if ss.backendID != 0 {
		s.table.remove(s.hash(keyFront, ss.front, &ss.caller, ss.backendID), makeRef(i, keyFront))
	}
}

// table finds a session by one of its three keys. It is a hash table with open
// addressing over 8-byte slots without pointers, which the garbage collector does not
// scan. The keys themselves are in the sessions: the caller compares what a slot
// refers to. It belongs to one shard.
//
// Slots of equal hash are found by linear probing; a removal shifts the
// following ones back, so there are no tombstones to age.
type table struct {
	slots []slot
	mask  uint32
	used  int
}

// slot is empty when ref is 0.
type slot struct {
	hash uint32
	ref  ref
}

// keyKind says which of a session's keys a slot is for.
type keyKind uint32

const (
	// keyFront: listener, caller address, the backend's socket ID. A
	// caller's datagrams of a session bear it.
	keyFront keyKind = 1
	// keyBack: local port, backend address, the caller's socket ID. All
	// datagrams from a backend bear it.
	keyBack keyKind = 2
	// keyCaller: listener, caller address, the caller's own socket ID. A
	// handshake to the listener bears it.
	keyCaller keyKind = 3
)

// ref is a session's index and the role of the key; never 0.
type ref uint32

func makeRef(index uint32, r keyKind) ref { return ref(index<<2 | uint32(r)) }

func (r ref) index() uint32 { return uint32(r) >> 2 }

func (r ref) kind() keyKind { return keyKind(r & 3) }

// indexLimit is what a ref's 30 bits of index can name, and a word of the owners.
const indexLimit = min(1<<30, owners.IndexLimit)

// minSlots holds a thousand sessions before the first growth: 32 KiB.
const minSlots = 4096

func newTable() table {
	return table{slots: make([]slot, minSlots), mask: minSlots - 1}
}

// probe walks the slots of one hash:
//
//	for p := t.probe(hash); t.next(&p); { ... p.ref ... }
type probe struct {
	hash, at uint32
	ref      ref
}

func (t *table) probe(hash uint32) probe { return probe{hash: hash, at: hash - 1} }

func (t *table) next(p *probe) bool {
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
func (t *table) insert(hash uint32, r ref) {
	// 5/8 keeps linear probing to a handful of slots of one cache line.
	if t.used >= len(t.slots)/8*5 {
		t.grow()
	}
	t.put(slot{hash, r})
	t.used++
}

// insertAll adds many slots, in the order of their places: among many each is a cache miss
// otherwise, and one of the page table too.
func (t *table) insertAll(all []slot) {
	const buckets = 1 << 10
	var ends [buckets + 1]int
	shift := max(bits.Len32(t.mask)-bits.Len32(buckets-1), 0)
	bucket := func(s slot) uint32 { return s.hash & t.mask >> shift }
	for _, s := range all {
		ends[bucket(s)+1]++
	}
	for k := 1; k < len(ends); k++ {
		ends[k] += ends[k-1]
	}
	sorted := make([]slot, len(all))
	for _, s := range all {
		b := bucket(s)
		sorted[ends[b]] = s
		ends[b]++
	}
	for _, s := range sorted {
		t.insert(s.hash, s.ref)
	}
}

func (t *table) put(s slot) {
	i := s.hash & t.mask
	for t.slots[i].ref != 0 {
		i = (i + 1) & t.mask
	}
	t.slots[i] = s
}

// grow doubles the table. It reads the slots only, not the sessions: some 2 ms for the
// 300,000 keys of 100,000 sessions.
func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, 2*len(old))
	t.mask = uint32(len(t.slots) - 1)
	for _, s := range old {
		if s.ref != 0 {
			t.put(s)
		}
	}
}

// remove deletes the slot; it reports whether there was one.
func (t *table) remove(hash uint32, r ref) bool {
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
