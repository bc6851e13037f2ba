package capture

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"srtrelay/addr"
)

func at(text string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(text)) }

var ends = Ends{
	Caller: at("192.0.2.1:4001"), Front: at("192.0.2.9:20080"),
	Upstream: at("[2001:db8::9]:5001"), Backend: at("[2001:db8::2]:10080"),
}

func TestRingGivesBackWhatWasPut(t *testing.T) {
	r := newRing(1 << 10)
	var rec Record
	// Lengths that leave every remainder of 8, many times around the ring.
	for n := range 500 {
		data := bytes.Repeat([]byte{byte(n)}, n%70)
		how := How(n % 8)
		if !r.put(time.Duration(n), how, &ends, 1000+n, data) {
			t.Fatalf("record %d: no room in an empty ring", n)
		}
		if r.pending() {
			t.Fatalf("record %d is there before it was committed", n)
		}
		if !r.commit() || r.commit() {
			t.Fatalf("record %d: commit must hand over once", n)
		}
		when, ok := r.peek()
		if !ok || when != time.Duration(n) {
			t.Fatalf("record %d: peek gives %v, %v", n, when, ok)
		}
		r.take(&rec)
		if rec.At != time.Duration(n) || rec.How != how || rec.Ends != ends || rec.Length != 1000+n || !bytes.Equal(rec.Data, data) {
			t.Fatalf("record %d came back as %+v", n, rec)
		}
		if _, ok := r.peek(); ok {
			t.Fatalf("after record %d there is another", n)
		}
	}
}

// A full ring refuses, keeps what it has, and takes again when there is room.
func TestRingFull(t *testing.T) {
	r := newRing(1 << 10)
	put := func(n int) bool { return r.put(time.Duration(n), Forwarded, &ends, 16, make([]byte, 16)) }
	n := 0
	for put(n) {
		n++
	}
	if want := (1 << 10) / (recordHead + 16); n != want {
		t.Fatalf("%d records fit, want %d", n, want)
	}
	r.commit()
	var rec Record
	for i := range 3 * n {
		if when, ok := r.peek(); !ok || when != time.Duration(i) {
			t.Fatalf("record %d is of %v, %v", i, when, ok)
		}
		r.take(&rec)
		if put(n + i) {
			t.Fatal("the bytes of the record taken last were given away before the next peek")
		}
		r.peek()
		if !put(n + i) {
			t.Fatal("no room where a record was given back")
		}
		r.commit()
	}
}

// One goroutine puts, another takes, in a ring that is always too small.
func TestRingBetweenTwoGoroutines(t *testing.T) {
	const total = 200_000
	r := newRing(4 << 10)
	done := make(chan uint64)
	go func() {
		random := rand.New(rand.NewPCG(1, 2))
		data, refused := make([]byte, 200), uint64(0)
		for n := range uint64(total) {
			d := data[:8+random.IntN(len(data)-8)]
			for i := range d {
				d[i] = byte(n)
			}
			binary.LittleEndian.PutUint64(d, n)
			if !r.put(time.Duration(n), Forwarded, &ends, len(d), d) {
				refused++
			}
			if n%7 == 0 {
				r.commit()
			}
			if n%512 == 0 {
				runtime.Gosched()
			}
		}
		r.commit()
		done <- refused
	}()
	var rec Record
	var taken, refused uint64
	last, finished := time.Duration(-1), false
	for {
		if _, ok := r.peek(); !ok {
			if finished {
				break
			}
			select {
			case refused = <-done:
				finished = true
			default:
				runtime.Gosched()
			}
			continue
		}
		r.take(&rec)
		n := binary.LittleEndian.Uint64(rec.Data)
		if rec.At <= last || time.Duration(n) != rec.At || rec.Length != len(rec.Data) {
			t.Fatalf("after %d came %+v", last, rec)
		}
		for _, b := range rec.Data[8:] {
			if b != byte(n) {
				t.Fatalf("record %d was written over: %x", n, rec.Data)
			}
		}
		last = rec.At
		taken++
	}
	if taken+refused != total {
		t.Errorf("%d taken and %d refused of %d", taken, refused, total)
	}
	if refused == 0 || taken == 0 {
		t.Errorf("%d taken, %d refused: the test did not test", taken, refused)
	}
}

func FuzzRing(f *testing.F) {
	f.Add([]byte{3, 200, 1, 0, 255, 9})
	f.Fuzz(func(t *testing.T, script []byte) {
		r := newRing(1 << 10)
		var rec Record
		var want [][]byte
		for _, b := range script {
			if b%3 == 0 && len(want) > 0 {
				if _, ok := r.peek(); !ok {
					t.Fatal("nothing to take")
				}
				r.take(&rec)
				if !bytes.Equal(rec.Data, want[0]) {
					t.Fatalf("took %x, want %x", rec.Data, want[0])
				}
				want = want[1:]
				continue
			}
			data := bytes.Repeat([]byte{b}, int(b))
			if r.put(0, Sent, &ends, len(data), data) {
				want = append(want, data)
			}
			r.commit()
		}
	})
}
