package owners

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestOwnersFindExactlyOne(t *testing.T) {
	o := New(1000)
	find := func(front uint8, id uint32, want Place, unique bool) {
		t.Helper()
		if at, ok := o.Find(front, id); ok != unique || ok && at != want {
			t.Errorf("find(%d, %d): %v, %v; want %v, %v", front, id, at, ok, want, unique)
		}
	}
	find(0, 7, Place{}, false)
	a, b := Place{3, 17}, Place{ShardLimit - 1, IndexLimit - 1}
	o.Enter(0, 7, a)
	o.Enter(1, 7, b) // another listener
	find(0, 7, a, true)
	find(1, 7, b, true)
	find(2, 7, Place{}, false)
	// Two sessions of one ID cannot be told apart, also in one shard.
	o.Enter(0, 7, b)
	find(0, 7, Place{}, false)
	o.Remove(0, 7, b)
	find(0, 7, a, true)
	o.Remove(0, 7, b) // has been removed
	find(0, 7, a, true)
	o.Remove(0, 7, a)
	find(0, 7, Place{}, false)
}

// At the cap of sessions each finds a place, after any number of others.
func TestOwnersHoldAllSessions(t *testing.T) {
	const sessions = 1 << 14
	o := New(sessions)
	ids := make([]uint32, sessions)
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 5 {
		for k := range ids {
			if round > 0 {
				o.Remove(0, ids[k], Place{1, uint32(k)})
			}
			ids[k] = random.Uint32() >> 2
			if !o.Enter(0, ids[k], Place{1, uint32(k)}) {
				t.Fatalf("round %d: no place for session %d", round, k)
			}
		}
	}
	lost, wrong := 0, 0
	for k, id := range ids {
		if at, unique := o.Find(0, id); !unique {
			lost++ // its ID is another one's too
		} else if at.Index != uint32(k) {
			wrong++
		}
	}
	if lost > 10 || wrong > 0 {
		t.Errorf("%d sessions are not unique, %d are another one", lost, wrong)
	}
	for k, id := range ids {
		o.Remove(0, id, Place{1, uint32(k)})
	}
	for k := range o.buckets {
		if n := o.buckets[k].used(); n > 0 {
			t.Fatalf("bucket %d has %d left", k, n)
		}
	}
}

// Full buckets refuse, and hold no more than they can.
func TestOwnersAreBounded(t *testing.T) {
	o := New(1)
	entered := 0
	for id := range uint32(100) {
		if o.Enter(0, id, Place{0, id}) {
			entered++
		}
	}
	if most := len(o.buckets) * bucketWords; entered != most {
		t.Errorf("%d entered, want %d", entered, most)
	}
	o.Remove(0, 99, Place{0, 99}) // it has found no place
	for k := range o.buckets {
		if o.buckets[k].used() != bucketWords {
			t.Error("another one is removed")
		}
	}
}

// Shards enter and remove at the same time as others read.
func TestOwnersRace(t *testing.T) {
	const shards, rounds = 4, 5000
	o := New(shards * 64 * 4)
	var running sync.WaitGroup
	for id := range shards {
		running.Go(func() {
			for k := range uint32(rounds) {
				at := Place{id, k & 63}
				key := uint32(id)<<16 | at.Index
				if !o.Enter(0, key, at) {
					t.Error("no place")
				}
				if got, unique := o.Find(0, key); !unique || got != at {
					t.Errorf("found %v, %v; want %v", got, unique, at)
				}
				o.Find(0, uint32((id+1)%shards)<<16|at.Index)
				o.Remove(0, key, at)
			}
		})
	}
	running.Wait()
	for k := range o.buckets {
		if o.buckets[k].used() > 0 {
			t.Fatal("not empty")
		}
	}
}
