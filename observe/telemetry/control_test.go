package telemetry

import (
	"math"
	"slices"
	"testing"
	"time"

	"srtrelay/wire"
)

func TestControl(t *testing.T) {
	const from = 1 << 31
	for _, c := range []struct {
		name string
		play func(*rig)
		want Counts
	}{
		{"keepalive, handshake, shutdown, congestion, peer error", func(r *rig) {
			for _, k := range []wire.ControlType{
				wire.TypeKeepalive, wire.TypeHandshake, wire.TypeShutdown, wire.TypeCongestion, wire.TypePeerError, 99,
			} {
				r.see(ToBackend, controlOf(k, 0, 0, 0))
				r.see(ToCaller, controlOf(k, 0, 0, 0))
			}
		}, Counts{}},
		{"ACKs of all sizes go against the media", func(r *rig) {
			r.see(ToCaller, controlOf(wire.TypeACK, 0, 0, 1))
			r.see(ToCaller, controlOf(wire.TypeACK, 0, 1, 1, 2, 3, 4))
			r.see(ToCaller, fullACK(2))
			r.see(ToCaller, controlOf(wire.TypeACK, 0, 3)) // of nothing
			r.see(ToBackend, fullACK(2))                   // about the other way
		}, Counts{ACKs: 3}},
		{"NAKs", func(r *rig) {
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, 7, from|9, 12, 20))
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, 7))
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, from|wire.SequenceMask, 1))
		}, Counts{NAKs: 3, LostReported: 6 + 1 + 3}},
		{"NAKs that make no sense", func(r *rig) {
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0))
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, from|7))
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, from|9, 7))
			r.see(ToCaller, controlOf(wire.TypeNAK, 0, 0, from|1, 1<<30))
		}, Counts{NAKs: 4}},
		{"DROPREQ, and again", func(r *rig) {
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 100, 109))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 100, 109))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 105, 111))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 200, 200))
		}, Counts{Dropped: 10 + 2 + 1}},
		{"DROPREQs that make no sense", func(r *rig) {
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 100))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 100, 99))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, 100, 100+maxGap))
		}, Counts{}},
		{"DROPREQ around the end", func(r *rig) {
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, wire.SequenceMask-1, 1))
			r.see(ToBackend, controlOf(wire.TypeDropReq, 0, 1, wire.SequenceMask-1, 2))
		}, Counts{Dropped: 5}},
		{"ACKACKs", func(r *rig) {
			r.see(ToBackend, controlOf(wire.TypeACKACK, 0, 7))
			r.see(ToBackend, controlOf(wire.TypeACKACK, 0, 7, 0))
		}, Counts{ACKACKs: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(firstSeq)
			c.play(r)
			r.want(t, c.want)
		})
	}
}

func TestReceiver(t *testing.T) {
	r := newRig(firstSeq)
	r.see(ToCaller, controlOf(wire.TypeACK, 0, 1, 1, 2, 3, 4))
	if q := r.quality(); q.Heard {
		t.Errorf("a small ACK told of %+v", q.Receiver)
	}
	r.see(ToCaller, fullACK(2))
	want := Receiver{RTT: 40_000, RTTVar: 5_000, Buffer: 8000, PacketRate: 190, Capacity: 1900, ByteRate: 250_000}
	if q := r.quality(); !q.Heard || q.Receiver != want {
		t.Errorf("%+v, want %+v", q.Receiver, want)
	}
}

// An ACK may claim anything: what cannot be is counted and shown nowhere, and
// what was said before stays.
func TestPoisonedReceiverIsNotBelieved(t *testing.T) {
	const rttWord, varWord, bufferWord, rateWord, capacityWord = 1, 2, 3, 4, 5
	honest := []uint32{firstSeq, 40_000, 5_000, 8000, 190, 1900, 250_000}
	r, said := newRig(firstSeq), Receiver{RTT: 40_000, RTTVar: 5_000, Buffer: 8000, PacketRate: 190, Capacity: 1900, ByteRate: 250_000}
	number, lies := uint32(1), uint16(0)
	send := func(word int, value uint32, believed bool) {
		t.Helper()
		words := slices.Clone(honest)
		words[word] = value
		number++
		r.see(ToCaller, controlOf(wire.TypeACK, 0, number, words...))
		if !believed {
			lies++
		}
		q := r.quality()
		if q.Implausible != lies || q.Heard != (number > 2 || believed) || !believed && q.Heard && q.Receiver != said {
			t.Errorf("word %d says %d: %+v, want it believed: %v", word, value, q, believed)
		}
	}
	send(rttWord, 40_000, true)
	for word, most := range map[int]uint32{
		rttWord: maxRTT, varWord: maxRTT, bufferWord: maxBuffer, rateWord: maxRate, capacityWord: maxRate,
	} {
		send(word, most, true)
		send(word, honest[word], true)
		send(word, most+1, false)
		send(word, math.MaxUint32, false)
	}
	r = newRig(firstSeq)
	r.see(ToCaller, controlOf(wire.TypeACK, 0, 1, firstSeq, math.MaxUint32, 0, 0, 0, 0, 0))
	if q := r.quality(); q.Heard || q.Implausible != 1 || q.ACKs != 1 {
		t.Errorf("a lie at first: %+v", q)
	}
}

// A session without media has no record, whatever else its peers send.
func TestIdleTakesNoRecord(t *testing.T) {
	r := newRig(firstSeq)
	for range 100 {
		r.see(ToBackend, controlOf(wire.TypeKeepalive, 0, 0, 0))
		r.see(ToCaller, controlOf(wire.TypeKeepalive, 0, 0, 0))
	}
	if n := r.slab.inUse(); n != 0 || len(r.slab.chunks) != 0 {
		t.Errorf("%d records, %d chunks", n, len(r.slab.chunks))
	}
	if _, ok := r.slab.LastData(&r.m); ok {
		t.Error("media has passed")
	}
}

// Records are used again, without what was in them.
func TestRecordsAreUsedAgain(t *testing.T) {
	r := newRig(firstSeq)
	for range 10 * chunkSize {
		r.m = Begin(firstSeq, rexmitTerms())
		r.data(plain, firstSeq, firstSeq+2)
		r.see(ToCaller, fullACK(1))
		r.want(t, Counts{Packets: 2, LostBefore: 1, ACKs: 1})
		r.slab.Release(&r.m)
		if r.m != (Meter{}) || r.slab.inUse() != 0 {
			t.Fatalf("left: %+v, %d records", r.m, r.slab.inUse())
		}
	}
	if len(r.slab.chunks) != 1 {
		t.Errorf("%d chunks", len(r.slab.chunks))
	}
	meters := make([]Meter, 3*chunkSize)
	for i := range meters {
		meters[i] = Begin(firstSeq, rexmitTerms())
		for range i%3 + 1 {
			r.slab.Observe(&meters[i], ToCaller, time.Second, packetOf(firstSeq, plain))
		}
	}
	for i := range meters {
		if n := r.slab.Report(&meters[i])[ToCaller].Packets; n != uint64(i%3+1) {
			t.Fatalf("meter %d: %d packets", i, n)
		}
	}
}
