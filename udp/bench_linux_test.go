package udp

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

const benchPayload = 1332 // a full SRT packet: 16 + 7 x 188

// BenchmarkPlan is Add and Flush without the kernel: what planning and packing
// cost per datagram.
func BenchmarkPlan(b *testing.B) {
	for _, destinations := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("%d destinations", destinations), func(b *testing.B) {
			o := NewOutbox(openBack(b, loopbacks["IPv4"], bothOffloads))
			o.send = func(_ int, m []unix.Mmsghdr) (int, unix.Errno) { return len(m), 0 }
			to := make([]addr.AddrPort, destinations)
			for i := range to {
				to[i] = destination(i)
			}
			datagram := make([]byte, benchPayload)
			b.ReportAllocs()
			for i := range b.N {
				o.Add(to[i%destinations], addr.IP{}, 0, datagram)
			}
			o.Flush()
		})
	}
}

// BenchmarkLoopback sends 32 datagrams to one destination and receives them:
// two system calls and the kernel's work per 32.
func BenchmarkLoopback(b *testing.B) {
	for _, c := range []struct {
		name string
		o    Options
		size int
	}{{"GSO and GRO", bothOffloads, 65536}, {"neither", Options{}, 2048}} {
		b.Run(c.name, func(b *testing.B) {
			c.o.RecvBuf = 4 << 20
			front := openFront(b, netip.MustParseAddrPort("127.0.0.1:0"), c.o)
			o, batch := NewOutbox(openBack(b, loopbacks["IPv4"], c.o)), openBatch(b, 64, c.size)
			to, datagram := addr.From(front.Local()), make([]byte, benchPayload)
			got := 0
			b.SetBytes(benchPayload)
			b.ReportAllocs()
			for i := range b.N {
				o.Add(to, addr.IP{}, 0, datagram)
				if i%32 != 31 && i != b.N-1 {
					continue
				}
				o.Flush()
				n, err := batch.Receive(front)
				if err != nil {
					b.Fatal(err)
				}
				for m := range n {
					d := batch.At(m)
					got += (len(d.Data) + d.Stride - 1) / d.Stride
				}
			}
			if got != b.N {
				b.Fatalf("%d of %d datagrams arrived", got, b.N)
			}
		})
	}
}

// BenchmarkReceiveNothing is what a turn pays for asking an idle socket.
func BenchmarkReceiveNothing(b *testing.B) {
	s, batch := openFront(b, netip.MustParseAddrPort("[::]:0"), bothOffloads), openBatch(b, 64, 65536)
	b.ReportAllocs()
	for b.Loop() {
		if n, err := batch.Receive(s); n != 0 || err != nil {
			b.Fatal(n, err)
		}
	}
}
