package shard

import (
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/udp"
	"srtrelay/wire"
)

// What receive calls bring, and the size that the batch has afterwards.
func TestSizing(t *testing.T) {
	type call struct {
		at   time.Duration
		n    int // messages that it brought
		want int
	}
	const s, quiet = time.Second, sizingQuiet
	for name, calls := range map[string][]call{
		"a few at a time stay in the idle batch": {{0, 15, 16}, {s, 15, 16}, {quiet + s, 15, 16}, {time.Hour, 0, 16}},
		"full calls double it":                   {{0, 16, 32}, {0, 32, 64}, {0, 64, 128}, {0, 128, 256}, {s, 256, 256}},
		"a call that is not full does not":       {{0, 16, 32}, {s, 30, 32}, {2 * s, 30, 32}},
		"half of it is enough to stay":           {{0, 16, 32}, {0, 32, 64}, {s, 32, 64}, {quiet + s, 17, 64}, {2*quiet + 2*s, 17, 64}},
		"quiet shrinks it to twice what comes":   {{0, 16, 32}, {0, 32, 64}, {0, 64, 128}, {0, 128, 256}, {s, 15, 256}, {quiet, 15, 32}, {2 * quiet, 15, 32}},
		"silence shrinks it to the idle batch":   {{0, 16, 32}, {0, 32, 64}, {s, 1, 64}, {quiet, 0, 16}},
		"one burst within the time keeps it":     {{0, 16, 32}, {0, 32, 64}, {s, 40, 64}, {quiet, 0, 64}, {2*quiet - s, 0, 64}, {2 * quiet, 0, 16}},
	} {
		t.Run(name, func(t *testing.T) {
			z := sizing{sizes: udp.BatchSizes(256, 64<<10)}
			for i, c := range calls {
				z.peak = max(z.peak, c.n)
				if to := z.next(c.at); to != z.current {
					z.changed(to, c.at)
				}
				if got := z.sizes[z.current]; got != c.want {
					t.Fatalf("call %d: %d messages at %v make it %d, want %d", i, c.n, c.at, got, c.want)
				}
			}
		})
	}
}

// Where there is no memory the shard goes on with what it has, and asks again
// later and not with every turn. While it asks it does not ask anew.
func TestSizingWithoutMemory(t *testing.T) {
	z := sizing{sizes: []int{8, 16}, peak: 8}
	if z.next(0) != 1 {
		t.Fatal("does not want to grow")
	}
	z.changing = true
	if z.next(0) != 0 {
		t.Error("asks again while it waits for the answer")
	}
	z.failed(0)
	if z.next(sizingRetry-1) != 0 {
		t.Error("asks again at once")
	}
	z.peak = 8
	if z.next(sizingRetry) != 1 {
		t.Error("does not ask again after a while")
	}
}

// resize waits until the sizes that the shard has asked for are in use.
func (r *rig) resize() {
	for {
		present := r.sizing.current
		r.owner.loops.Wait()
		r.turn()
		if r.sizing.current == present && !r.sizing.changing {
			return
		}
	}
}

// A batch grows under traffic without the loss of a datagram, and goes back
// when it is over.
func TestBatchFollowsTraffic(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Batch = 128 })
	r.establish(r.caller, callerID, callerISN, backendID)
	if n := r.batch.Len(); n != 16 {
		t.Fatalf("an idle shard has a batch of %d", n)
	}
	idle := r.batch.Bytes()
	const sent, lot = 320, 80 // as many as the kernel's default buffer takes
	before, in := r.count(CountForwardedToBackend), make([]byte, 2048)
	for first := 0; first < sent; first += lot {
		for i := range lot {
			must(t, r.caller, media(backendID, uint32(callerISN+first+i), 3<<30|1))
		}
		r.settle()
		r.resize()
		for i := range lot {
			_ = r.backend.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, _, err := r.backend.ReadFromUDPAddrPort(in)
			if err != nil {
				t.Fatal(err)
			}
			if seq := wire.Packet(in[:n]).Sequence(); seq != uint32(callerISN+first+i) {
				t.Fatalf("datagram %d has number %d", first+i, seq)
			}
		}
	}
	if n := r.count(CountForwardedToBackend) - before; n != sent || r.batch.Len() != 128 {
		t.Errorf("%d of %d forwarded, the batch has %d messages", n, sent, r.batch.Len())
	}
	if grown := int(r.count(CountBatchBytes)); grown != r.batch.Bytes() || grown <= idle {
		t.Errorf("batch_bytes is %d, it takes %d", grown, r.batch.Bytes())
	}
	if due, ok := r.nextDue(); !ok || due > r.now+sizingQuiet {
		t.Errorf("an idle loop wakes at %v, %v; want it within %v", due-r.now, ok, sizingQuiet)
	}
	r.pass(sizingQuiet) // in which the traffic was
	r.pass(sizingQuiet)
	r.resize()
	if r.batch.Bytes() != idle {
		t.Errorf("after silence the batch has %d messages", r.batch.Len())
	}
}

// A train may come when the batch is at its smallest: none is cut.
func TestIdleBatchTakesTrains(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Batch = 128 })
	sock, err := udp.OpenBack(netip.MustParseAddr("127.0.0.1"), udp.Options{GSO: true})
	if err != nil {
		t.Fatal(err)
	}
	defer sock.Close()
	out := udp.NewOutbox(sock)
	const datagrams = 2 * 49
	for range datagrams { // to nobody: 49 of them fill a superpacket
		out.Add(addr.From(r.front), addr.IP{}, 0, packet(0xDEAD, 1332))
	}
	out.Flush()
	r.settle()
	if r.count(DropTruncated) != 0 || r.count(DropForeignCaller) != datagrams {
		t.Errorf("of %d datagrams in trains: %v", datagrams, r.nonzero())
	}
	if calls := r.count(CountReceivedFront) / r.count(CountReceiveCalls); calls < 8 {
		t.Errorf("%d datagrams per receive call: these were no trains", calls)
	}
}
