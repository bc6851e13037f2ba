package kernelpath

import (
	"math"
	"testing"

	"github.com/cilium/ebpf"
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
				if err := enterFor(s, &e, true); err != nil {
					b.Fatal(err)
				}
				s.Leave(&e)
			}
		})
	}
}

// BenchmarkProgram is what the program costs a datagram, with what BPF_PROG_TEST_RUN adds.
func BenchmarkProgram(b *testing.B) {
	r := newRig(b)
	e := r.enter(loop(), toLoopback(), r.near())
	r.shard.Way(e.Place, 0).SetSequence(sequence(500), false)
	e6 := session6()
	e6.Place, e6.Upstream, e6.Backend = 1, e6.Caller, e6.Front
	e6 = r.enter(e6, toLoopback(), r.near())
	r.shard.Way(1, 0).SetSequence(sequence(500), false)
	off := loop()
	off.Place, off.BackendID, off.CallerID = 2, backendID+1, callerID+1
	off = r.enter(off, toLoopback(), r.near())
	r.shard.Way(off.Place, 0).SetOff()
	data := dataOf(1, plain, backendID, 1316)
	tcp := frameOf(e.Caller, e.Front, data)
	tcp[ipAt+9] = 6
	ack := control(wire.TypeACK, 1, 2, 3, 4, 5, 6, 7)
	nak := control(wire.TypeNAK, make([]uint32, (wire.MaxPayload-wire.HeaderSize)/4)...)
	for _, c := range []struct {
		name   string
		frame  []byte
		ctx    skb
		shield bool
	}{
		{"other traffic", tcp, skb{}, false},
		{"miss", frameOf(e.Caller, e.Front, dataOf(1, plain, 77, 1316)), skb{}, false},
		{"hit", frameOf(e.Caller, e.Front, data), skb{}, false},
		{"hit, IPv6", frameOf(e6.Caller, e6.Front, data), skb{}, false},
		{"train of 16", frameOf(e.Caller, e.Front, train(sixteen()...)), segments(200), false},
		{"train of 16 of others", frameOf(e.Front, e.Caller, train(sixteen()...)), segments(200), false},
		{"up", frameOf(off.Caller, off.Front, dataOf(1, plain, off.BackendID, 1316)), skb{}, false},
		{"hit, shield", frameOf(e.Caller, e.Front, data), skb{}, true},
		{"ACK", frameOf(e.Caller, e.Front, ack), skb{}, false},
		{"ACK, shield", frameOf(e.Caller, e.Front, ack), skb{}, true},
		{"long NAK", frameOf(e.Caller, e.Front, nak), skb{}, false},
		{"long NAK, shield", frameOf(e.Caller, e.Front, nak), skb{}, true},
	} {
		b.Run(c.name, func(b *testing.B) {
			r.SetShield(c.shield)
			c.ctx.Ifindex = r.device
			r.n.do(b, func() error {
				_, err := r.objects.Relay.Run(&ebpf.RunOptions{Data: c.frame, Context: &c.ctx, Repeat: uint32(b.N)})
				return err
			})
		})
	}
}

// sixteen returns as many datagrams of 200 bytes.
func sixteen() (ps []wire.Packet) {
	for i := range uint32(16) {
		ps = append(ps, dataOf(i, plain, backendID, 184))
	}
	return ps
}
