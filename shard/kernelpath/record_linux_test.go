package kernelpath

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/cilium/ebpf"

	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// loop is a session whose datagrams leave as they came, so that the program can be run
// on one of them repeatedly.
func loop() Session {
	e := session4()
	e.Upstream, e.Backend = e.Caller, e.Front
	return e
}

// repeat runs the program at least n times on a frame. A signal has it begin anew.
func (r *rig) repeat(frame []byte, n int) {
	r.t.Helper()
	r.n.do(r.t, func() error {
		_, err := r.objects.Relay.Run(&ebpf.RunOptions{Data: frame, Context: &skb{Ifindex: r.device}, Repeat: uint32(n)})
		return err
	})
}

// A record has what the datagram had: its time by the clock of the shards, its way, and
// as much of its head as telemetry reads.
func TestRecords(t *testing.T) {
	r := newRig(t)
	origin := time.Now().Add(-time.Hour)
	if err := r.SetOrigin(origin); err != nil {
		t.Fatal(err)
	}
	e := session4()
	e.Place = 5
	e = r.enter(e, toLoopback(), r.toDevice("192.0.2.1", 9000))
	nak := make([]uint32, (wire.MaxPayload-wire.HeaderSize)/4)
	for i := range nak {
		nak[i] = uint32(i)
	}
	for name, c := range map[string]struct {
		p    wire.Packet
		head int
	}{
		"ACK":        {controlOf(wire.TypeACK, 0, 7, callerID, 1, 2, 3, 4, 5, 6, 7), 44},
		"data":       {dataOf(900, plain, callerID, 1316), 64},
		"data of 16": {dataOf(900, plain, callerID, 0), 16},
		"short NAK":  {controlOf(wire.TypeNAK, 0, 7, callerID, 1, 2, 3), 28},
		"long NAK":   {controlOf(wire.TypeNAK, 0, 7, callerID, nak...), wire.MaxPayload},
		"jumbo NAK":  {controlOf(wire.TypeNAK, 0, 7, callerID, append(nak, 1, 2)...), wire.MaxPayload},
	} {
		r.shard.Way(e.Place, 1).SetSequence(sequence(77), true)
		before := time.Since(origin)
		r.run(frameOf(e.Backend, e.Upstream, c.p), skb{Ifindex: loopback}, 0)
		after := time.Since(origin)
		n := r.shard.Read(math.MaxInt, func(got *Record) {
			if got.Place != e.Place || got.Way != 1 || got.Gen != e.Gen || got.Next != 77 || got.Length != len(c.p) {
				t.Errorf("%s: %+v", name, got)
			}
			if got.At < before || got.At > after {
				t.Errorf("%s: passed at %v, not between %v and %v", name, got.At, before, after)
			}
			if !bytes.Equal(got.Head, c.p[:c.head]) {
				t.Errorf("%s: %d bytes of %d: %x", name, len(got.Head), c.head, got.Head)
			}
		})
		if n != 1 {
			t.Errorf("%s: %d records", name, n)
		}
	}
	// What nobody wants to see is not taken down.
	r.shard.Way(e.Place, 1).SetSequence(sequence(77), false)
	r.run(frameOf(e.Backend, e.Upstream, dataOf(900, plain, callerID, 9)), skb{Ifindex: loopback}, 0)
	r.run(frameOf(e.Backend, e.Upstream, controlOf(wire.TypeACK, 0, 7, callerID, 1)), skb{Ifindex: loopback}, 0)
	if n := r.shard.Read(math.MaxInt, func(*Record) {}); n != 0 {
		t.Errorf("%d records of a session that is not observed", n)
	}
}

// Read returns after as many records as it may read, and goes on with the next.
func TestReadSome(t *testing.T) {
	r := newRig(t)
	e := r.enter(loop(), toLoopback(), r.near())
	r.repeat(frameOf(e.Caller, e.Front, controlOf(wire.TypeACK, 0, 7, backendID, 1)), 10)
	passed := int(r.shard.Way(e.Place, 0).Passed().Packets)
	for _, want := range []int{4, 4, passed - 8, 0} {
		if n := r.shard.Read(max(4, want), func(*Record) {}); n != want {
			t.Errorf("read %d, want %d", n, want)
		}
	}
}

// A ring that overflows loses records, which are counted. The telemetry misses what they
// were about, and nothing that comes later.
func TestRingOverflows(t *testing.T) {
	r := newRig(t)
	e := r.enter(loop(), toLoopback(), r.near())
	w := r.shard.Way(e.Place, 0)
	var slab telemetry.Slab
	m := telemetry.Begin(1, &telemetry.Terms{})
	read := uint32(0)
	catchUp := func() {
		r.shard.Read(math.MaxInt, func(one *Record) {
			read++
			slab.ObserveHead(&m, telemetry.ToBackend, one.At, one.Head, one.Length, one.Next)
		})
		next, sum, last, exceptions := w.Data()
		if exceptions != read {
			t.Fatalf("%d exceptions, %d records read", exceptions, read)
		}
		slab.InOrder(&m, telemetry.ToBackend, next, sum-slab.Report(&m)[telemetry.ToBackend].Bytes, last)
	}
	r.run(frameOf(e.Caller, e.Front, dataOf(500_000, plain, backendID, 0)), skb{}, 0) // far ahead
	r.repeat(frameOf(e.Caller, e.Front, dataOf(499_000, plain, backendID, 0)), 20_000)
	lost, sent := w.Passed().Lost, w.Passed().Packets
	catchUp()
	if lost == 0 || read+lost != sent {
		t.Errorf("%d records read and %d lost of %d", read, lost, sent)
	}
	before := slab.Report(&m)[telemetry.ToBackend].Packets
	next, _, _, _ := w.Data()
	for i := range uint32(10) {
		r.run(frameOf(e.Caller, e.Front, dataOf(next+i, plain, backendID, 0)), skb{}, 0)
	}
	r.run(frameOf(e.Caller, e.Front, dataOf(next+12, plain, backendID, 0)), skb{}, 0)
	catchUp()
	q := slab.Report(&m)[telemetry.ToBackend]
	if q.Packets-before != 11 || q.LostBefore != 2 {
		t.Errorf("%d packets and %d lost after the overflow, want 11 and 2", q.Packets-before, q.LostBefore)
	}
	if again := w.Passed().Lost; again != lost {
		t.Errorf("%d more records lost", again-lost)
	}
}
