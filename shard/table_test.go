package shard

import (
	"math/rand/v2"
	"testing"
)

// lookup returns whether the table holds the slot.
func lookup(t *table, hash uint32, r ref) bool {
	for p := t.probe(hash); t.next(&p); {
		if p.ref == r {
			return true
		}
	}
	return false
}

// The table against a map, under random inserts and removals with few distinct
// hashes, so that probe runs are long, overlap and wrap around the end.
func TestTableAgainstModel(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, hashes := range []uint32{1, 7, 300, 1 << 31} {
		table := newTable()
		model := map[slot]bool{}
		var order []slot
		for step := range 20_000 {
			if len(order) > 0 && random.IntN(3) == 0 {
				k := random.IntN(len(order))
				s := order[k]
				order[k] = order[len(order)-1]
				order = order[:len(order)-1]
				delete(model, s)
				if !table.remove(s.hash, s.ref) {
					t.Fatalf("hashes %d, step %d: %v is not there to remove", hashes, step, s)
				}
				continue
			}
			if hashes < 100 && len(order) > 200 {
				continue // one long run is enough
			}
			// The last slots of the table, so that runs wrap.
			s := slot{minSlots - 3 + random.Uint32N(hashes), makeRef(uint32(step), keyKind(1+step%3))}
			table.insert(s.hash, s.ref)
			model[s] = true
			order = append(order, s)
		}
		for s := range model {
			if !lookup(&table, s.hash, s.ref) {
				t.Fatalf("hashes %d: %v is lost", hashes, s)
			}
		}
		if table.used != len(model) {
			t.Errorf("hashes %d: used %d, want %d", hashes, table.used, len(model))
		}
		for _, s := range order {
			table.remove(s.hash, s.ref)
		}
		for i, s := range table.slots {
			if s != (slot{}) {
				t.Fatalf("hashes %d: slot %d still holds %v after all were removed", hashes, i, s)
			}
		}
	}
}

func TestTableRemoveUnknown(t *testing.T) {
	table := newTable()
	table.insert(5, makeRef(1, keyFront))
	if table.remove(5, makeRef(1, keyBack)) || table.remove(6, makeRef(1, keyFront)) {
		t.Error("removed what was never inserted")
	}
	if table.used != 1 {
		t.Errorf("used %d, want 1", table.used)
	}
}

func TestRefNames(t *testing.T) {
	for _, r := range []keyKind{keyFront, keyBack, keyCaller} {
		for _, i := range []uint32{0, 1, indexLimit - 1} {
			if ref := makeRef(i, r); ref == 0 || ref.index() != i || ref.kind() != r {
				t.Errorf("index %d role %d came back as %d, %d", i, r, ref.index(), ref.kind())
			}
		}
	}
}

func TestTableLookupDoesNotAllocate(t *testing.T) {
	table := newTable()
	table.insert(7, makeRef(3, keyFront))
	if n := testing.AllocsPerRun(100, func() { lookup(&table, 7, makeRef(3, keyFront)) }); n != 0 {
		t.Errorf("%v allocations per lookup", n)
	}
}

func BenchmarkTableLookup(b *testing.B) {
	const sessions = 100_000
	table := newTable()
	random := rand.New(rand.NewPCG(1, 2))
	hashes := make([]uint32, sessions)
	for i := range hashes {
		hashes[i] = random.Uint32()
		for _, r := range []keyKind{keyFront, keyBack, keyCaller} {
			table.insert(hashes[i]+uint32(r), makeRef(uint32(i), r))
		}
	}
	for i := 0; b.Loop(); i++ {
		k := i * 7919 % sessions
		if !lookup(&table, hashes[k]+uint32(keyFront), makeRef(uint32(k), keyFront)) {
			b.Fatal("lost")
		}
	}
}

func TestInsertAll(t *testing.T) {
	for _, n := range []int{0, 1, 100, minSlots, 20 * minSlots} {
		one, all := newTable(), newTable()
		var slots []slot
		for k := range uint32(n) {
			s := slot{hash: k * 2654435761, ref: makeRef(k, keyKind(1+k%3))}
			slots = append(slots, s)
			one.insert(s.hash, s.ref)
		}
		all.insertAll(slots)
		if all.used != one.used || len(all.slots) != len(one.slots) {
			t.Errorf("%d slots: %d used of %d, want %d of %d", n, all.used, len(all.slots), one.used, len(one.slots))
		}
		for _, s := range slots {
			if !all.remove(s.hash, s.ref) {
				t.Fatalf("%d slots: %v is not found", n, s)
			}
		}
	}
}
