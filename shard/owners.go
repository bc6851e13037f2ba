package shard

import (
	"math/rand/v2"
	"sync/atomic"
)

// owners says which session has a backend's socket ID, for datagrams that match no session of
// the shard that received them. All shards share it: the owner of a session enters it when it
// is established and removes it when it ends; others read it. No packet of a session that
// stays where it was established touches it.
//
// It is an array of atomic words in buckets of one cache line. A session may be in either of
// two buckets, which its listener and ID choose, so that a search reads two lines at most and
// nothing has to be moved, swept or locked. The array never grows: a session that finds both
// buckets full is not in it.
//
// An answer is a hint. It may be stale, and about one in a million IDs that no session has gets
// the answer of another one: the owner looks at the session.
type owners struct {
	buckets []ownerBucket
	seed    uint64
}

// ownerBucket is one cache line.
type ownerBucket [ownersPerBucket]atomic.Uint64

const (
	ownersPerBucket = 8
	// ownerWords is how many words there are per session: with four of eight in use, on
	// average, a pair of full buckets does not occur (TestOwnersHoldAllSessions).
	ownerWords = 2
	// ownersMost is for how many sessions there is memory at most.
	ownersMost = 1 << 22

	// A word has a tag of the key, which is never 0, the shard and the index of the session.
	ownerIndexBits = 30
	ownerShardBits = 12
	ownerTagShift  = ownerIndexBits + ownerShardBits

	// shardLimit is how many shards an owner's word can name.
	shardLimit = 1 << ownerShardBits
)

// owner is where a session is.
type owner struct {
	shard int
	index uint32
}

// newOwners makes room for so many sessions of all shards.
func newOwners(sessions int) *owners {
	n, sessions := 1, min(sessions, ownersMost)
	for n*ownersPerBucket < sessions*ownerWords {
		n *= 2
	}
	return &owners{buckets: make([]ownerBucket, n), seed: rand.Uint64()}
}

// key returns the two buckets of a key, and its tag in place.
func (o *owners) key(front uint8, id uint32) (a, b *ownerBucket, tag uint64) {
	h := mixOwner((uint64(id)<<8 | uint64(front)) ^ o.seed)
	mask := uint64(len(o.buckets) - 1)
	if tag = h >> ownerTagShift; tag == 0 {
		tag = 1
	}
	// The second one depends on bits that neither the first one nor the tag has.
	return &o.buckets[h&mask], &o.buckets[mixOwner(h)&mask], tag << ownerTagShift
}

// mixOwner is the finalizer of MurmurHash3.
func mixOwner(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// enter enters a session; false if there is no place for it.
func (o *owners) enter(front uint8, id uint32, at owner) bool {
	a, b, word := o.key(front, id)
	word |= uint64(at.shard)<<ownerIndexBits | uint64(at.index)
	first, second := a, b
	if b.used() < a.used() {
		first, second = b, a
	}
	return first.put(word) || second.put(word)
}

// remove removes a session that enter has entered.
func (o *owners) remove(front uint8, id uint32, at owner) {
	a, b, word := o.key(front, id)
	word |= uint64(at.shard)<<ownerIndexBits | uint64(at.index)
	if !a.take(word) {
		b.take(word)
	}
}

// find returns the only session of a listener with a backend's socket ID. false: there is
// none, or more than one, whose datagrams could not be told apart.
func (o *owners) find(front uint8, id uint32) (at owner, unique bool) {
	a, b, tag := o.key(front, id)
	n := a.count(tag, &at)
	if b != a {
		n += b.count(tag, &at)
	}
	return at, n == 1
}

// count returns how many sessions of a tag are in the bucket, and the last one.
func (b *ownerBucket) count(tag uint64, at *owner) (n int) {
	for k := range b {
		if word := b[k].Load(); word>>ownerTagShift == tag>>ownerTagShift && word != 0 {
			n++
			at.shard = int(word >> ownerIndexBits & (shardLimit - 1))
			at.index = uint32(word & (indexLimit - 1))
		}
	}
	return n
}

func (b *ownerBucket) used() (n int) {
	for k := range b {
		if b[k].Load() != 0 {
			n++
		}
	}
	return n
}

func (b *ownerBucket) put(word uint64) bool {
	for k := range b {
		if b[k].Load() == 0 && b[k].CompareAndSwap(0, word) {
			return true
		}
	}
	return false
}

func (b *ownerBucket) take(word uint64) bool {
	for k := range b {
		if b[k].Load() == word && b[k].CompareAndSwap(word, 0) {
			return true
		}
	}
	return false
}

// own enters an established session among the owners, disown removes it.
func (s *Shard) own(i uint32, ss *session) {
	s.sessions.cold(i).owned = s.owners.enter(ss.front, ss.backendID, owner{s.id, i})
}

func (s *Shard) disown(i uint32, ss *session) {
	if cold := s.sessions.cold(i); cold.owned {
		cold.owned = false
		s.owners.remove(ss.front, ss.backendID, owner{s.id, i})
	}
}
