// Package owners finds the shard that has the session of a datagram, when the shard that received
// the datagram has not. Owners finds it by the socket ID. Routes says whose datagrams a shard hands
// on without a limit, because the owner knows their caller.
//
// It must not know what a session or a letter is, nor read a clock: times are the shard's.
package owners

import (
	"math/rand/v2"
	"sync/atomic"
)

// Owners says which session has a backend's socket ID. All shards share it: the shard that has a
// session enters it when it is established and removes it when it ends; others read it. No packet
// of a session that stays where it was established touches it.
//
// It is an array of atomic words in buckets of one cache line. A session may be in either of
// two buckets, which its listener and ID choose, so that a search reads two lines at most and
// nothing has to be moved, swept or locked. The array never grows: a session that finds both
// buckets full is not in it.
//
// An answer is a hint. It may be stale, and about one in a million IDs that no session has gets
// the answer of another one: the owner looks at the session.
type Owners struct {
	buckets []bucket
	seed    uint64
}

// bucket is one cache line.
type bucket [bucketWords]atomic.Uint64

const (
	bucketWords = 8
	// sessionWords is how many words there are per session: with four of eight in use, on
	// average, a pair of full buckets does not occur (TestOwnersHoldAllSessions).
	sessionWords = 2
	// mostSessions is for how many sessions there is memory at most.
	mostSessions = 1 << 22

	// A word has a tag of the key, which is never 0, the shard and the index of the session.
	indexBits = 30
	shardBits = 12
	tagShift  = indexBits + shardBits

	// ShardLimit and IndexLimit are how many shards, and sessions of each, a word can name.
	ShardLimit = 1 << shardBits
	IndexLimit = 1 << indexBits
)

// Place is where a session is: its shard, and its index there.
type Place struct {
	Shard int
	Index uint32
}

// New makes room for so many sessions of all shards.
func New(sessions int) *Owners {
	n, sessions := 1, min(sessions, mostSessions)
	for n*bucketWords < sessions*sessionWords {
		n *= 2
	}
	return &Owners{buckets: make([]bucket, n), seed: rand.Uint64()}
}

// key returns the two buckets of a key, and its tag in place.
func (o *Owners) key(front uint8, id uint32) (a, b *bucket, tag uint64) {
	h := mix((uint64(id)<<8 | uint64(front)) ^ o.seed)
	mask := uint64(len(o.buckets) - 1)
	if tag = h >> tagShift; tag == 0 {
		tag = 1
	}
	// The second one depends on bits that neither the first one nor the tag has.
	return &o.buckets[h&mask], &o.buckets[mix(h)&mask], tag << tagShift
}

// mix is the finalizer of MurmurHash3.
func mix(h uint64) uint64 {
	h ^= h >> 33
	h *= 0xFF51AFD7ED558CCD
	h ^= h >> 33
	h *= 0xC4CEB9FE1A85EC53
	return h ^ h>>33
}

// Enter enters a session; false if there is no place for it.
func (o *Owners) Enter(front uint8, id uint32, at Place) bool {
	a, b, word := o.key(front, id)
	word |= uint64(at.Shard)<<indexBits | uint64(at.Index)
	first, second := a, b
	if b.used() < a.used() {
		first, second = b, a
	}
	return first.put(word) || second.put(word)
}

// Remove removes a session, if Enter has entered it.
func (o *Owners) Remove(front uint8, id uint32, at Place) {
	a, b, word := o.key(front, id)
	word |= uint64(at.Shard)<<indexBits | uint64(at.Index)
	if !a.take(word) {
		b.take(word)
	}
}

// Find returns the only session of a listener with a backend's socket ID. false: there is
// none, or more than one, whose datagrams could not be told apart.
func (o *Owners) Find(front uint8, id uint32) (at Place, unique bool) {
	a, b, tag := o.key(front, id)
	n := a.count(tag, &at)
	if b != a {
		n += b.count(tag, &at)
	}
	return at, n == 1
}

// count returns how many sessions of a tag are in the bucket, and the last one.
func (b *bucket) count(tag uint64, at *Place) (n int) {
	for k := range b {
		if word := b[k].Load(); word>>tagShift == tag>>tagShift && word != 0 {
			n++
			at.Shard = int(word >> indexBits & (ShardLimit - 1))
			at.Index = uint32(word & (IndexLimit - 1))
		}
	}
	return n
}

func (b *bucket) used() (n int) {
	for k := range b {
		if b[k].Load() != 0 {
			n++
		}
	}
	return n
}

func (b *bucket) put(word uint64) bool {
	for k := range b {
		if b[k].Load() == 0 && b[k].CompareAndSwap(0, word) {
			return true
		}
	}
	return false
}

func (b *bucket) take(word uint64) bool {
	for k := range b {
		if b[k].Load() == word && b[k].CompareAndSwap(word, 0) {
			return true
		}
	}
	return false
}
