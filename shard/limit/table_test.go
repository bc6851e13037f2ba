package limit

import (
	"testing"
)

// reference is a table without any cleverness.
type reference struct {
	holds map[byte]int
	value map[byte]int
	idle  []byte // oldest first
}

func (r *reference) use(k byte, most int) {
	if _, known := r.value[k]; !known {
		r.value[k] = 0
	}
	if r.holds[k] > 0 {
		return
	}
	r.drop(k)
	if len(r.idle) == most {
		delete(r.value, r.idle[0])
		r.idle = r.idle[1:]
	}
	r.idle = append(r.idle, k)
}

func (r *reference) drop(k byte) {
	for i, one := range r.idle {
		if one == k {
			r.idle = append(r.idle[:i:i], r.idle[i+1:]...)
			return
		}
	}
}

// Whatever is done, a held entry stays with its value, and the idle ones are the last that
// were used.
func FuzzTable(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 1, 1, 2, 3, 2, 4, 2, 5, 3, 0, 1, 2, 4, 1})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const most = 3
		table := NewTable[byte, int](most)
		want := reference{holds: map[byte]int{}, value: map[byte]int{}}
		refs := map[byte]Ref{}
		for len(steps) >= 2 {
			do, k := steps[0]%5, steps[1]%16
			steps = steps[2:]
			switch do {
			case 0:
				r, v := table.Hold(k)
				if want.drop(k); want.holds[k] > 0 && refs[k] != r {
					t.Fatalf("%d has moved", k)
				}
				refs[k] = r
				want.holds[k]++
				*v++
				want.value[k]++
			case 1:
				if want.holds[k] == 0 {
					continue
				}
				table.Release(refs[k])
				if want.holds[k]--; want.holds[k] == 0 {
					want.use(k, most)
				}
			case 2:
				v := table.Use(k)
				want.use(k, most)
				*v++
				want.value[k]++
			case 3:
				for place := 0; ; {
					place = table.Slice(place, 5, func(key *byte, v *int, held bool) bool {
						if *v != want.value[*key] || held != (want.holds[*key] > 0) {
							t.Fatalf("%d: %d, held %v", *key, *v, held)
						}
						return *key%4 != k%4
					})
					if place == 0 {
						break
					}
				}
				for one := range byte(16) {
					if one%4 == k%4 && want.holds[one] == 0 {
						want.drop(one)
						delete(want.value, one)
					}
				}
			case 4:
				if v := table.Find(k); (v != nil) != want.has(k) {
					t.Fatalf("%d found: %v", k, v)
				}
			}
			want.compare(t, table)
		}
	})
}

func (r *reference) has(k byte) bool {
	_, ok := r.value[k]
	return ok
}

func (r *reference) compare(t *testing.T, table *Table[byte, int]) {
	t.Helper()
	held := 0
	for _, n := range r.holds {
		if n > 0 {
			held++
		}
	}
	if table.Held() != held || table.Len() != held+len(r.idle) || len(table.index) != len(r.value) {
		t.Fatalf("%d held of %d, want %d of %d", table.Held(), table.Len(), held, held+len(r.idle))
	}
	for k, n := range r.value {
		if v := table.Find(k); v == nil || *v != n {
			t.Fatalf("%d: %v, want %d", k, v, n)
		}
	}
}

// A flood of sources neither grows the table nor pushes out one that has a session.
func TestFloodOfSources(t *testing.T) {
	table := NewTable[int, int](100)
	refs := map[int]Ref{}
	for k := range 50 {
		r, v := table.Hold(-k)
		refs[-k], *v = r, k
	}
	for k := range 100_000 {
		*table.Use(k + 1)++
	}
	if table.Len() != 150 || len(table.chunks) > 1 {
		t.Errorf("%d entries in %d chunks", table.Len(), len(table.chunks))
	}
	for k := range 50 {
		if v := table.Find(-k); v == nil || *v != k {
			t.Errorf("%d is gone", k)
		}
		table.Release(refs[-k])
	}
	if table.Held() != 0 || table.Len() != 100 {
		t.Errorf("%d held of %d", table.Held(), table.Len())
	}
}
