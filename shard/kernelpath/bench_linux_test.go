package kernelpath

import (
	"math"
	"testing"

	"github.com/vishvananda/netlink"

	"srtrelay/wire"
)

// What the loop of a shard does for sessions in the path allocates nothing.
func TestNothingIsAllocated(t *testing.T) {
	r := newRig(t)
	e := r.enter(loop(), toLoopback(), r.near())
	w := r.shard.Way(e.Place, 0)
	var h Handover
	p := dataOf(1, plain, backendID, 100)
	nak := frameOf(e.Caller, e.Front, controlOf(wire.TypeNAK, 0, 1, backendID, make([]uint32, 300)...))
	read := func(*Record) {}
	for name, fn := range map[string]func(){
		"Sent": func() { h.Sent(w, p) },
		"offer": func() {
			_ = h.Fresh(w)
			_ = h.Complete(w)
			h.Offer(w)
			h.Restart(w)
		},
		"Passed":      func() { _ = w.Passed() },
		"Data":        func() { _, _, _, _ = w.Data() },
		"SetSequence": func() { w.SetSequence(sequence(1), true) },
		"Reset":       func() { r.shard.Reset(e.Place+1, 7) },
		"Read of none": func() {
			if r.shard.Read(10, read) != 0 {
				t.Error("there are records")
			}
		},
	} {
		if n := testing.AllocsPerRun(100, fn); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
	const records = 300
	r.shard.Reset(e.Place, e.Gen)
	w.SetSequence(sequence(1), true)
	w.setOn()
	r.repeat(nak, records)
	r.shard.Read(10, read) // the first one allocates the buffer
	if n := testing.AllocsPerRun(100, func() {
		if r.shard.Read(2, read) != 2 {
			t.Error("there are no more records")
		}
	}); n != 0 {
		t.Errorf("Read allocates %v times", n)
	}
	r.shard.Read(math.MaxInt, read)
}

// BenchmarkEnterLeave is what the kernel path adds to the begin and the end of a session.
func BenchmarkEnterLeave(b *testing.B) {
	n := newNamespace(b)
	n.addDevice(b, pair("eth"), "198.51.100.1/24", "2001:db8::1/64")
	n.change(b, "eth-peer", netlink.LinkSetUp)
	s := n.open(b).Shard(0)
	for name, e := range map[string]Session{"IPv4": session4(), "IPv6": session6()} {
		e.Caller = endpoint(map[string]string{"IPv4": "198.51.100.2:40000", "IPv6": "[2001:db8::2]:40000"}[name])
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := enterFor(s, &e); err != nil {
					b.Fatal(err)
				}
				s.Leave(&e)
			}
		})
	}
}
