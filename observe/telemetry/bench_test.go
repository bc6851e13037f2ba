package telemetry

import (
	"encoding/binary"
	"reflect"
	"testing"
	"time"

	"srtrelay/wire"
)

// Data in order, of one session and of so many that each record has left the
// caches.
func BenchmarkInOrder(b *testing.B) {
	for name, n := range map[string]int{"one session": 1, "20000 sessions": 20_000} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var slab Slab
			meters := make([]Meter, n)
			p := packetOf(0, plain)
			for i := range meters {
				meters[i] = Begin(0, rexmitTerms())
				slab.Observe(&meters[i], ToBackend, 0, p)
			}
			k, seq := 0, uint32(1)
			for b.Loop() {
				binary.BigEndian.PutUint32(p, seq)
				slab.Observe(&meters[k], ToBackend, time.Duration(seq), p)
				if k++; k == n {
					k, seq = 0, (seq+1)&wire.SequenceMask
				}
			}
		})
	}
}

// A live stream's mix: 64 packets, a loss, an ACK and its ACKACK.
func BenchmarkStream(b *testing.B) {
	b.ReportAllocs()
	r := newRig(0)
	p, ack, ackack := packetOf(0, plain), fullACK(0), ackack(0)
	seq, number := uint32(0), uint32(0)
	for b.Loop() {
		seq++
		if seq%64 == 0 {
			number++
			r.now += 10 * time.Millisecond
			binary.BigEndian.PutUint32(ack[4:], number)
			binary.BigEndian.PutUint32(ackack[4:], number)
			r.see(ToCaller, ack)
			r.see(ToBackend, ackack)
			continue
		}
		binary.BigEndian.PutUint32(p, seq&wire.SequenceMask)
		r.see(ToBackend, p)
	}
}

// Nothing that passes allocates once a session has its records.
func TestObserveDoesNotAllocate(t *testing.T) {
	r := newRig(firstSeq)
	r.data(plain, firstSeq)
	r.see(ToBackend, fullACK(1)) // the other way's record
	seq := uint32(firstSeq)
	packets := []wire.Packet{
		fullACK(1), ackack(1), controlOf(wire.TypeNAK, 0, 0, 7, 1<<31|9, 12), controlOf(wire.TypeDropReq, 0, 1, 5, 9),
		controlOf(wire.TypeKeepalive, 0, 0, 0), user(wire.SubtypeKMReq, keyMaterial(CipherCTR, 16)),
	}
	p := packetOf(0, plain)
	if n := testing.AllocsPerRun(1000, func() {
		for _, word := range []uint32{plain, rexmit, odd, even, filter} {
			seq += 3
			for _, s := range []uint32{seq, seq - 2, seq} {
				binary.BigEndian.PutUint32(p, s)
				binary.BigEndian.PutUint32(p[4:], word)
				r.see(ToBackend, p)
			}
		}
		for _, c := range packets {
			r.see(ToBackend, c)
			r.see(ToCaller, c)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What an idle session and one with media cost. A record is whole cache lines,
// so that none shares a line with its neighbour.
func TestSizes(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		most uintptr
	}{
		{reflect.TypeFor[Meter](), 16},
		{reflect.TypeFor[Terms](), 32},
		{reflect.TypeFor[record](), 1280},
	} {
		if size := c.of.Size(); size > c.most {
			t.Errorf("%v takes %d bytes, at most %d", c.of, size, c.most)
		}
	}
	r := reflect.TypeFor[record]()
	if r.Size()%64 != 0 {
		t.Errorf("a record of %d bytes is not whole cache lines", r.Size())
	}
	for _, hot := range []string{"last", "next", "expect", "rexmit", "strays"} {
		if f, _ := r.FieldByName(hot); f.Offset+f.Type.Size() > 64 {
			t.Errorf("%s is not in the first cache line", hot)
		}
	}
	if counts, _ := r.FieldByName("Counts"); counts.Offset+16 > 64 {
		t.Errorf("packets and bytes are not in the first cache line")
	}
	for f := range fields(r) {
		if f.Type.Kind() == reflect.Pointer || f.Type.Kind() == reflect.Slice {
			t.Errorf("%s is a pointer", f.Name)
		}
	}
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if !yield(t.Field(i)) {
				return
			}
		}
	}
}
