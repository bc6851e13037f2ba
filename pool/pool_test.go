package pool

import (
	"bytes"
	"sync"
	"testing"
)

func mustPanic(t *testing.T, what string, fn func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s did not panic", what)
		}
	}()
	fn()
}

func newSlab(n, size int) *Slab { return NewSlab(make([]byte, n*size), size) }

func TestSlabBuffersAreEqualAndApart(t *testing.T) {
	s := newSlab(3, 10)
	if s.Size() != 10 {
		t.Fatalf("Size %d; want 10", s.Size())
	}
	for i := range 3 {
		b := s.Buffer(i)
		if len(b) != 10 || cap(b) != 10 {
			t.Fatalf("buffer %d: len %d cap %d; want 10, 10", i, len(b), cap(b))
		}
		for j := range b {
			b[j] = byte(i + 1)
		}
	}
	for i := range 3 {
		if want := bytes.Repeat([]byte{byte(i + 1)}, 10); !bytes.Equal(s.Buffer(i), want) {
			t.Errorf("buffer %d = %v; a neighbour wrote into it", i, s.Buffer(i))
		}
	}
}

// An append past a full buffer must move away, not overwrite the neighbour.
func TestSlabAppendDoesNotReachTheNeighbour(t *testing.T) {
	s := newSlab(2, 4)
	_ = append(s.Buffer(0), 0xFF)
	if s.Buffer(1)[0] != 0 {
		t.Error("append to buffer 0 wrote into buffer 1")
	}
}

func TestSlabRefusesNonsense(t *testing.T) {
	mustPanic(t, "no memory", func() { NewSlab(nil, 1) })
	mustPanic(t, "less than one buffer", func() { NewSlab(make([]byte, 9), 10) })
	mustPanic(t, "buffers of nothing", func() { NewSlab(make([]byte, 1<<12), 0) })
	mustPanic(t, "a buffer too many", func() { newSlab(2, 4).Buffer(2) })
}

func TestSlabAllocatesOnlyAtBirth(t *testing.T) {
	s := newSlab(8, SingleSize)
	if n := testing.AllocsPerRun(100, func() { s.Buffer(5)[0]++ }); n != 0 {
		t.Errorf("%v allocations per Buffer", n)
	}
}

func TestBufferIsACopy(t *testing.T) {
	origin := []byte("conclusion")
	b := Get(origin)
	origin[0] = 'X'
	if string(b.Bytes()) != "conclusion" {
		t.Errorf("buffer changed with its origin: %q", b.Bytes())
	}
	Put(b)
	if empty := Get(nil); len(empty.Bytes()) != 0 {
		t.Errorf("Get(nil) holds %d bytes of another buffer", len(empty.Bytes()))
	}
}

func TestBufferMisusePanics(t *testing.T) {
	b := Get([]byte("x"))
	Put(b)
	other := Get([]byte("y")) // most likely the same memory
	mustPanic(t, "second Put", func() { Put(b) })
	mustPanic(t, "Bytes after Put", func() { b.Bytes() })
	if string(other.Bytes()) != "y" {
		t.Errorf("misuse of a dead buffer changed a live one: %q", other.Bytes())
	}
	Put(other)
}

func TestBuffersFromManyGoroutines(t *testing.T) {
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			want := bytes.Repeat([]byte{byte(g)}, 100+g)
			for range 500 {
				b := Get(want)
				if !bytes.Equal(b.Bytes(), want) {
					t.Errorf("goroutine %d saw another's bytes", g)
				}
				Put(b)
			}
		})
	}
	wg.Wait()
}
