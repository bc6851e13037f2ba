package udp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
)

func TestReceiveNothing(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), bothOffloads)
	b := openBatch(t, 4, 2048)
	if n, err := b.Receive(s); n != 0 || err != nil {
		t.Errorf("Receive on an idle socket: %d, %v", n, err)
	}
	s.Close()
	if n, err := b.Receive(s); n != 0 || !errors.Is(err, net.ErrClosed) {
		t.Errorf("Receive on a closed socket: %d, %v", n, err)
	}
}

func TestLengthsOfDatagrams(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		s := openFront(t, netip.AddrPortFrom(ip, 0), bothOffloads)
		peer, b := openPeer(t, ip), openBatch(t, 8, 2048)
		sizes := []int{0, 1, 2048, 2049, 30000, 16}
		for _, size := range sizes {
			if _, err := peer.WriteToUDPAddrPort(make([]byte, size), s.Local()); err != nil {
				t.Fatal(err)
			}
		}
		if n := receive(t, b, s); n != len(sizes) {
			t.Fatalf("%d datagrams, want %d", n, len(sizes))
		}
		for i, size := range sizes {
			d := b.At(i)
			if d.Truncated != (size > 2048) || len(d.Data) != min(size, 2048) || d.Stride != len(d.Data) {
				t.Errorf("%d bytes came as %d, stride %d, truncated %v", size, len(d.Data), d.Stride, d.Truncated)
			}
			if cap(d.Data) != len(d.Data) || d.From != addr.From(portOf(peer)) || d.Local != (addr.IP{}) {
				t.Errorf("cap %d, from %s, local %v", cap(d.Data), d.From, d.Local)
			}
		}
	})
}

// A train longer than the buffer is cut, and says so.
func TestTrainInASmallBuffer(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), bothOffloads)
	o, b := NewOutbox(openBack(t, loopbacks["IPv4"], bothOffloads)), openBatch(t, 4, 2048)
	for i := range 3 {
		o.Add(addr.From(s.Local()), addr.IP{}, 0, payload(i, 1000))
	}
	o.Flush()
	receive(t, b, s)
	if d := b.At(0); !d.Truncated || d.Stride != 1000 {
		t.Errorf("stride %d, truncated %v", d.Stride, d.Truncated)
	}
}

// One batch serves sockets of both families in turn: what a long IPv6 name or
// control message left must not show in what comes next.
func TestBatchServesBothFamilies(t *testing.T) {
	b := openBatch(t, 4, 2048)
	wild6 := openFront(t, netip.MustParseAddrPort("[::]:0"), bothOffloads)
	wild4 := openFront(t, netip.MustParseAddrPort("0.0.0.0:0"), bothOffloads)
	plain4 := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	for round := range 3 {
		for _, c := range []struct {
			s     *Socket
			ip    netip.Addr
			local bool
		}{{wild6, loopbacks["IPv6"], true}, {wild4, loopbacks["IPv4"], true}, {plain4, loopbacks["IPv4"], false}, {wild6, loopbacks["IPv4"], true}} {
			peer := openPeer(t, c.ip)
			for i := range round + 1 {
				if _, err := peer.WriteToUDPAddrPort(payload(i, 100), at(c.s, c.ip)); err != nil {
					t.Fatal(err)
				}
			}
			n := receive(t, b, c.s)
			for i := range n {
				want := addr.IP{}
				if c.local {
					want = addr.FromIP(c.ip)
				}
				if d := b.At(i); d.From != addr.From(portOf(peer)) || d.Local != want {
					t.Errorf("on %s: from %s, local %v; want %s, %v", c.s.Local(), d.From, d.Local, portOf(peer), want)
				}
			}
		}
	}
}

// A caller must be answered from the address it dialled, single datagrams and
// superpackets alike, IPv4 also through the IPv6 socket.
func TestAnswersFromTheDialledAddress(t *testing.T) {
	for _, c := range []struct{ listen, dial, caller string }{
		{"[::]:0", "127.0.0.2", "127.0.0.1"},
		{"[::]:0", "127.0.0.1", "127.0.0.3"},
		{"[::]:0", "::1", "::1"},
		{"0.0.0.0:0", "127.0.0.2", "127.0.0.1"},
	} {
		t.Run(c.listen+" "+c.dial, func(t *testing.T) {
			front := openFront(t, netip.MustParseAddrPort(c.listen), bothOffloads)
			dial := at(front, netip.MustParseAddr(c.dial))
			caller := openPeer(t, netip.MustParseAddr(c.caller))
			if _, err := caller.WriteToUDPAddrPort([]byte("hello"), dial); err != nil {
				t.Fatal(err)
			}
			b, o := openBatch(t, 4, 65536), NewOutbox(front)
			receive(t, b, front)
			d := b.At(0)
			if d.Local != addr.FromIP(dial.Addr()) {
				t.Errorf("local address %s, dialled %s", d.Local.Netip(), dial)
			}
			for _, n := range []int{1, 5} {
				for i := range n {
					o.Add(d.From, d.Local, 0, payload(i, 200))
				}
				o.Flush()
				for range n {
					buffer := make([]byte, 300)
					size, from, err := caller.ReadFromUDPAddrPort(buffer)
					if err != nil {
						t.Fatal(err)
					}
					if size != 200 || netip.AddrPortFrom(from.Addr().Unmap(), from.Port()) != dial {
						t.Errorf("%d bytes answered from %s, dialled %s", size, from, dial)
					}
				}
			}
			if got := o.Outcome(); got.Sent != 6 || got.Calls != 2 {
				t.Errorf("outcome %+v", got)
			}
		})
	}
}

func TestNoAllocations(t *testing.T) {
	front := openFront(t, netip.MustParseAddrPort("[::]:0"), bothOffloads)
	back := openBack(t, loopbacks["IPv6"], bothOffloads)
	to := addr.From(at(front, loopbacks["IPv6"]))
	b, out, in := openBatch(t, 16, 65536), NewOutbox(back), NewOutbox(front)
	p, err := NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	p.Add(front)
	big, small := payload(1, 1332), payload(2, 100)
	received := 0
	allocs := testing.AllocsPerRun(200, func() {
		for range 10 {
			out.Add(to, addr.IP{}, 0, big)
		}
		out.Add(to, addr.IP{}, 0, small)
		out.Flush()
		p.Wake()
		if err := p.Wait(time.Millisecond); err != nil {
			t.Fatal(err)
		}
		n, _ := b.Receive(front)
		for i := range n {
			d := b.At(i)
			received += (len(d.Data) + d.Stride - 1) / d.Stride
			in.Add(d.From, d.Local, 0, d.Data[:d.Stride])
		}
		in.Flush()
		n, _ = b.Receive(back)
		received += n
		out.Outcome()
	})
	if allocs != 0 {
		t.Errorf("%v allocations per turn", allocs)
	}
	if received < 200*12 {
		t.Errorf("only %d datagrams went round", received)
	}
}
