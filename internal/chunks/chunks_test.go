package chunks

import "testing"

func TestListKeepsItsValuesInPlace(t *testing.T) {
	var l List[int]
	if l.Extend(0); l.Len() != 0 {
		t.Fatalf("an empty list has %d values", l.Len())
	}
	l.Extend(1)
	first := l.At(0)
	*first = 7
	for _, n := range []int{size, size + 1, 3*size - 1, 5} {
		before := l.Len()
		l.Extend(n)
		if want := max(before, n); l.Len() != want {
			t.Fatalf("extended from %d to %d values it has %d, want %d", before, n, l.Len(), want)
		}
		for i := before; i < l.Len(); i++ {
			if p := l.At(uint32(i)); *p != 0 {
				t.Fatalf("value %d is %d at first", i, *p)
			} else {
				*p = i
			}
		}
	}
	if l.At(0) != first || *first != 7 {
		t.Error("the first value has moved")
	}
	if *l.At(size) != size || *l.At(3*size - 2) != 3*size-2 {
		t.Error("values share a place")
	}
}
