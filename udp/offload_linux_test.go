package udp

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// countMessages makes the outbox count what it hands to the kernel.
func countMessages(o *Outbox) *int {
	messages := new(int)
	o.send = func(fd int, m []unix.Mmsghdr) (int, unix.Errno) {
		n, errno := sendMessages(fd, m)
		*messages += n
		return n, errno
	}
	return messages
}

// The offloads must be at work on loopback, not merely allowed: a silent
// fallback delivers the same bytes.
func TestOffloads(t *testing.T) {
	for _, c := range []struct {
		name           string
		sender, reader Options
		messages       int
		trains         bool
	}{
		{"GSO to GRO", Options{GSO: true}, Options{GRO: true}, 1, true},
		{"GSO alone", Options{GSO: true}, Options{}, 1, false},
		{"neither", Options{}, Options{}, 20, false},
		{"GRO alone", Options{}, Options{GRO: true}, 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachFamily(t, func(t *testing.T, ip netip.Addr) {
				testOffload(t, ip, c.sender, c.reader, c.messages, c.trains)
			})
		})
	}
}

func testOffload(t *testing.T, ip netip.Addr, sender, reader Options, wantMessages int, wantTrains bool) {
	front := openFront(t, netip.AddrPortFrom(ip, 0), reader)
	o := NewOutbox(openBack(t, ip, sender))
	messages := countMessages(o)
	var want [][]byte
	for i := range 20 {
		size := 1332
		if i == 19 {
			size = 700
		}
		want = append(want, payload(i, size))
		o.Add(addr.From(front.Local()), addr.IP{}, 0, want[i])
	}
	o.Flush()
	if got := o.Outcome(); got.Sent != 20 || got.Calls != 1 || got.SentBytes != 19*1332+700 {
		t.Errorf("outcome %+v", got)
	}
	if *messages != wantMessages {
		t.Errorf("20 datagrams left as %d messages, want %d", *messages, wantMessages)
	}
	got := receiveAll(t, openBatch(t, 32, 65536), front, 20)
	wantPayloads(t, got, want)
	for _, d := range got {
		if wantTrains && (d.train != 20 || d.stride != 1332) {
			t.Fatalf("train of %d with stride %d, want 20 with 1332", d.train, d.stride)
		}
		if !wantTrains && d.train != 1 {
			t.Fatalf("train of %d, want none", d.train)
		}
	}
}

// Two destinations, interleaved, each as one superpacket.
func TestInterleavedDestinationsOnLoopback(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		fronts := []*Socket{
			openFront(t, netip.AddrPortFrom(ip, 0), bothOffloads),
			openFront(t, netip.AddrPortFrom(ip, 0), Options{}),
		}
		o := NewOutbox(openBack(t, ip, bothOffloads))
		messages := countMessages(o)
		want := make([][][]byte, 2)
		for i := range 30 {
			b := payload(i, 500+i%2)
			want[i%2] = append(want[i%2], b)
			o.Add(addr.From(fronts[i%2].Local()), addr.IP{}, 0, b)
		}
		o.Flush()
		if *messages != 2 {
			t.Errorf("%d messages, want 2", *messages)
		}
		batch := openBatch(t, 16, 65536)
		for i, front := range fronts {
			wantPayloads(t, receiveAll(t, batch, front, 15), want[i])
		}
	})
}

// The largest legal superpackets must pass the kernel whole.
func TestLimitsOnLoopback(t *testing.T) {
	for _, c := range []struct{ count, size, messages int }{
		{maxSegments, 44, 1}, {49, 1332, 1}, {50, 1332, 2}, {44, 1472, 1},
	} {
		eachFamily(t, func(t *testing.T, ip netip.Addr) {
			front := openFront(t, netip.AddrPortFrom(ip, 0), bothOffloads)
			o := NewOutbox(openBack(t, ip, bothOffloads))
			messages := countMessages(o)
			var want [][]byte
			for i := range c.count {
				want = append(want, payload(i, c.size))
				o.Add(addr.From(front.Local()), addr.IP{}, 0, want[i])
			}
			o.Flush()
			if *messages != c.messages {
				t.Errorf("%d x %d left as %d messages, want %d", c.count, c.size, *messages, c.messages)
			}
			wantPayloads(t, receiveAll(t, openBatch(t, 8, 65536), front, c.count), want)
		})
	}
}
