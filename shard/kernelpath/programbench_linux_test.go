package kernelpath

import (
	"fmt"
	"math"
	"testing"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"srtrelay/wire"
)

// BenchmarkProgram is what the program costs one packet in CPU time, by BPF_PROG_TEST_RUN,
// which adds some 40 ns itself. What follows it, such as a redirect, is not in it. Without
// CAP_PERFMON the verifier puts barriers against speculation into the program.
func BenchmarkProgram(b *testing.B) {
	for _, rights := range []struct {
		name         string
		capabilities uint64
	}{
		{"CAP_BPF+CAP_NET_ADMIN", 1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN},
		{"CAP_BPF+CAP_NET_ADMIN+CAP_PERFMON", 1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN | 1<<unix.CAP_PERFMON},
	} {
		for _, family := range []int{4, 6} {
			b.Run(fmt.Sprintf("%s/IPv%d", rights.name, family), func(b *testing.B) {
				r := newRigWith(b, rights.capabilities)
				for _, c := range programLoads(b, r, family) {
					for _, shield := range []bool{true, false} {
						if shield || c.shielded {
							b.Run(fmt.Sprintf("%s/shield=%v", c.name, shield), func(b *testing.B) {
								r.SetShield(shield)
								c.run(b, r)
							})
						}
					}
				}
			})
		}
	}
}

// programLoad is a packet that the program is run on again and again. Its session's addresses
// are the same on both sides, so that the program takes what it has rewritten once more.
type programLoad struct {
	name     string
	e        Session
	frame    []byte
	ctx      skb
	shielded bool // it is a control packet
	records  int  // how many its records the ring has space for, 0 for none
}

// programLoads enters the sessions of the loads.
func programLoads(b *testing.B, r *rig, family int) (loads []programLoad) {
	near := map[int]hop{4: r.near(), 6: r.toDevice("2001:db8::9", 1500)}[family]
	session := func(toBackend, toCaller hop) Session {
		e := map[int]func() Session{4: session4, 6: session6}[family]()
		e.Upstream, e.Backend, e.Place = e.Caller, e.Front, uint32(len(loads))
		e.BackendID, e.CallerID = e.BackendID+e.Place, e.CallerID+e.Place
		return r.enter(e, toBackend, toCaller)
	}
	add := func(l programLoad, p func(id uint32) []byte) {
		if l.e.Gen == 0 {
			l.e = session(toLoopback(), near)
		}
		if l.ctx.Ifindex == 0 {
			l.ctx.Ifindex = r.device
		}
		l.frame = frameOf(l.e.Caller, l.e.Front, p(l.e.BackendID))
		loads = append(loads, l)
	}
	data := func(id uint32) []byte { return dataOf(1, plain, id, 1316) }
	report := func(t wire.ControlType, words ...uint32) func(uint32) []byte {
		return func(id uint32) []byte { return controlOf(t, 0, 1, id, words...) }
	}
	const short, long = 8000, 500
	longNAK := make([]uint32, (wire.MaxPayload-wire.HeaderSize)/4)
	add(programLoad{name: "data to the backend"}, data)
	add(programLoad{name: "data to the caller", e: session(near, toLoopback()), ctx: skb{Ifindex: loopback}}, data)
	add(programLoad{name: "train of 16", ctx: segments(200)}, func(id uint32) []byte { return train(sixteen(id)...) })
	add(programLoad{name: "ACK", shielded: true, records: short}, report(wire.TypeACK, 1, 2, 3, 4, 5, 6, 7))
	add(programLoad{name: "ACKACK", shielded: true, records: short}, report(wire.TypeACKACK))
	add(programLoad{name: "NAK", shielded: true, records: short}, report(wire.TypeNAK, 1))
	add(programLoad{name: "NAK of 364 losses", shielded: true, records: long}, report(wire.TypeNAK, longNAK...))
	add(programLoad{name: "keepalive", shielded: true}, report(wire.TypeKeepalive, 0))
	add(programLoad{name: "data of no session"}, func(uint32) []byte { return dataOf(1, plain, 77, 1316) })
	add(programLoad{name: "train of 16 of no session", ctx: segments(200)}, func(uint32) []byte { return train(sixteen(77)...) })
	add(programLoad{name: "data of a way that is off"}, data)
	r.shard.Way(loads[len(loads)-1].e.Place, 0).SetOff()
	tcp := programLoad{name: "TCP"}
	add(tcp, data)
	last := &loads[len(loads)-1]
	last.frame[map[int]int{4: ipAt + 9, 6: ipAt + 6}[family]] = unix.IPPROTO_TCP
	return loads
}

// sixteen returns as many datagrams of 200 bytes.
func sixteen(id uint32) (ps []wire.Packet) {
	for i := range uint32(16) {
		ps = append(ps, dataOf(1+i, plain, id, 184))
	}
	return ps
}

// run runs the program, and takes the records away in between.
func (l *programLoad) run(b *testing.B, r *rig) {
	program := r.expecting(b, l.e.Place)
	most := b.N
	if l.records > 0 {
		most = l.records
	}
	var spent time.Duration
	for left := b.N; left > 0; left -= most {
		r.n.do(b, func() error {
			begin := threadTime()
			_, err := program.Run(&ebpf.RunOptions{Data: l.frame, Context: &l.ctx, Repeat: uint32(min(left, most))})
			spent += threadTime() - begin
			return err
		})
		r.shard.Read(math.MaxInt, func(*Record) {})
	}
	if p := r.shard.Way(l.e.Place, 0).Passed(); p.Lost != 0 {
		b.Errorf("the ring had no space for %d records", p.Lost)
	}
	b.ReportMetric(float64(spent)/float64(b.N), "ns/op")
}

// threadTime is the CPU time of the thread: others may use its CPU too.
func threadTime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}

// expecting returns a program that has the first way of a session expect the same data packet
// again, and calls the path's program.
func (r *rig) expecting(b *testing.B, place uint32) *ebpf.Program {
	b.Helper()
	calls, err := ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.ProgramArray, KeySize: 4, ValueSize: 4, MaxEntries: 1,
		Contents: []ebpf.MapKV{{Key: uint32(0), Value: r.objects.Relay}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = calls.Close() })
	way := 2 * (r.shard.base + place)
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.SchedCLS, License: "Dual MIT/GPL",
		Instructions: asm.Instructions{
			asm.Mov.Reg(asm.R6, asm.R1),
			asm.StoreImm(asm.R10, -4, int64(way), asm.Word),
			asm.LoadMapPtr(asm.R1, r.objects.Ways.FD()),
			asm.Mov.Reg(asm.R2, asm.R10),
			asm.Add.Imm(asm.R2, -4),
			asm.FnMapLookupElem.Call(),
			asm.JEq.Imm(asm.R0, 0, "exit"),
			asm.StoreImm(asm.R0, int16(unsafe.Offsetof(pathWay{}.Next)), 1, asm.Word),
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.LoadMapPtr(asm.R2, calls.FD()),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnTailCall.Call(),
			asm.Mov.Imm(asm.R0, next).WithSymbol("exit"),
			asm.Return(),
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = program.Close() })
	return program
}
