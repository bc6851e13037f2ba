package srttest

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// drain counts what a bare socket gets and remembers the numbers in order.
type drain struct {
	conn     *net.UDPConn
	notifier Notifier
	count    atomic.Int64
	numbers  chan uint32
}

func newDrain(t *testing.T) *drain {
	d := &drain{conn: must[*net.UDPConn](t)(open(loop4)), numbers: make(chan uint32, 1<<16)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		receive(d.conn, func(_ netip.AddrPort, b []byte) {
			d.numbers <- binary.BigEndian.Uint32(b)
			d.count.Add(1)
			d.notifier.Notify()
		})
	}()
	t.Cleanup(func() { d.conn.Close(); <-done })
	return d
}

func (d *drain) awaitCount(t *testing.T, n int) {
	t.Helper()
	if err := d.notifier.Await(deadline(t), func() bool { return int(d.count.Load()) >= n }); err != nil {
		t.Fatalf("got %d of %d: %v", d.count.Load(), n, err)
	}
}

func (d *drain) take(n int) []uint32 {
	var got []uint32
	for range n {
		got = append(got, <-d.numbers)
	}
	return got
}

func numbered(i int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(i)) }

// flood sends n numbered datagrams, never more than window ahead of the Link.
func flood(t *testing.T, k *Link, from *net.UDPConn, n int) {
	t.Helper()
	const window = 500
	before := k.Stats(Up).Received
	for i := range n {
		if err := writeTo(from, numbered(i), k.Addr()); err != nil {
			t.Fatal(err)
		}
		if i%window == window-1 || i == n-1 {
			await(t, k, "link keeps up", func() bool { return k.Stats(Up).Received-before >= uint64(i+1) })
		}
	}
}

func TestLinkLossFollowsSeed(t *testing.T) {
	t.Parallel()
	const n = 20_000
	run := func() LinkStats {
		d, from := newDrain(t), newDrain(t)
		k := newLink(t, LinkConfig{Target: localAddr(d.conn), Seed: 7, Up: Impairment{Loss: 0.1, Duplicate: 0.05}})
		flood(t, k, from.conn, n)
		await(t, k, "all decided", func() bool {
			s := k.Stats(Up)
			return s.Forwarded == s.Received-s.Lost+s.Duplicated
		})
		s := k.Stats(Up)
		d.awaitCount(t, int(s.Forwarded))
		return s
	}
	a, b := run(), run()
	if a != b {
		t.Errorf("same seed, other luck: %+v and %+v", a, b)
	}
	// 10 % of 20000 has a standard deviation of 42, 5 % of the rest one of 29.
	if a.Received != n || a.Lost < 1830 || a.Lost > 2170 || a.Duplicated < 780 || a.Duplicated > 1020 {
		t.Errorf("%+v", a)
	}
}

func TestLinkHookScriptsOrder(t *testing.T) {
	t.Parallel()
	d, from := newDrain(t), newDrain(t)
	var seen []uint32
	k := newLink(t, LinkConfig{Target: localAddr(d.conn), Hook: func(dir Direction, b []byte) Action {
		n := binary.BigEndian.Uint32(b)
		seen = append(seen, n)
		switch n {
		case 0:
			return Drop
		case 1:
			return Hold(3)
		case 3:
			return Duplicate
		case 9:
			return Hold(100)
		}
		return Pass
	}})
	flood(t, k, from.conn, 10)
	want := []uint32{2, 3, 3, 1, 4, 5, 6, 7, 8}
	if got := d.take(len(want)); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	k.Release(Up)
	if got := d.take(1); got[0] != 9 {
		t.Errorf("released %v", got)
	}
	k.SetHook(nil)
	flood(t, k, from.conn, 1)
	if got := d.take(1); got[0] != 0 {
		t.Errorf("after the hook: %v", got)
	}
	if want := []uint32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}; !slices.Equal(seen, want) {
		t.Errorf("hook saw %v", seen)
	}
	if s := k.Stats(Up); s.Lost != 1 || s.Duplicated != 1 || s.Reordered != 2 {
		t.Errorf("%+v", s)
	}
}

func TestLinkReordersAndLosesNothing(t *testing.T) {
	t.Parallel()
	const n = 2000
	d, from := newDrain(t), newDrain(t)
	k := newLink(t, LinkConfig{Target: localAddr(d.conn), Seed: 3, Up: Impairment{Reorder: 0.1, Delay: 2 * time.Millisecond}})
	flood(t, k, from.conn, n)
	d.awaitCount(t, n)
	got := d.take(n)
	if slices.IsSorted(got) {
		t.Error("order was kept")
	}
	slices.Sort(got)
	for i, v := range got {
		if int(v) != i {
			t.Fatalf("%d is %d", i, v)
		}
	}
	if s := k.Stats(Up); s.Reordered < 130 || s.Reordered > 270 {
		t.Errorf("%+v", s)
	}
}

func TestLinkDelays(t *testing.T) {
	t.Parallel()
	d, from := newDrain(t), newDrain(t)
	k := newLink(t, LinkConfig{Target: localAddr(d.conn), Up: Impairment{Delay: 50 * time.Millisecond}})
	start := time.Now()
	flood(t, k, from.conn, 20)
	d.awaitCount(t, 20)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
	if got := d.take(20); !slices.IsSorted(got) {
		t.Errorf("delay changed the order: %v", got)
	}
}

func TestLinkBlackHoleAndBack(t *testing.T) {
	t.Parallel()
	d, from := newDrain(t), newDrain(t)
	var hooked atomic.Int32
	k := newLink(t, LinkConfig{
		Target: localAddr(d.conn), Up: Impairment{BlackHole: true},
		Hook: func(Direction, []byte) Action { hooked.Add(1); return Pass },
	})
	flood(t, k, from.conn, 10)
	if s := k.Stats(Up); s.Lost != 10 || s.Forwarded != 0 || hooked.Load() != 10 {
		t.Errorf("%+v, hook saw %d", s, hooked.Load())
	}
	k.Impair(Up, Impairment{})
	flood(t, k, from.conn, 10)
	d.awaitCount(t, 10)
	// The way back leads to the client's own port, across address families too.
	back, ok := k.ClientPort(localAddr(from.conn))
	if !ok {
		t.Fatal("client unknown")
	}
	writeTo(d.conn, numbered(77), netip.AddrPortFrom(loop4.Addr(), back.Port()))
	from.awaitCount(t, 1)
	if s := k.Stats(Down); s.Forwarded != 1 {
		t.Errorf("%+v", s)
	}
}

func TestLinkKeepsUpWithLoad(t *testing.T) {
	t.Parallel()
	const n, rate = 10_000, 20_000
	l := newListener(t, ListenerConfig{Mode: Source, Rate: rate, Limit: n})
	k := newLink(t, LinkConfig{Target: l.Addr()})
	s := dial(t, newPort(t, loop4), k.Addr(), CallerOptions{StreamID: "fast"})
	await(t, s, "all arrive", func() bool { return s.Counters().Received == n })
	if c := s.Counters(); c.Lost+c.Duplicated+c.Reordered != 0 {
		t.Errorf("%+v", c)
	}
}

// After Rebind a client's datagrams come from another port, and what is sent to the old one is
// lost.
func TestLinkRebind(t *testing.T) {
	t.Parallel()
	target, caller := must[*net.UDPConn](t)(open(loop4)), newDrain(t)
	defer target.Close()
	k := must[*Link](t)(NewLink(LinkConfig{Listen: loop4, Target: localAddr(target)}))
	defer k.Close()
	source := func() netip.AddrPort {
		if err := writeTo(caller.conn, numbered(0), k.Addr()); err != nil {
			t.Fatal(err)
		}
		_, from, err := target.ReadFromUDPAddrPort(make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		return from
	}
	before := source()
	if err := k.Rebind(); err != nil {
		t.Fatal(err)
	}
	after := source()
	if now, _ := k.ClientPort(localAddr(caller.conn)); after == before || now.Port() != after.Port() {
		t.Errorf("the client's port was %v and is %v, or %v", before, after, now)
	}
	for i, to := range []netip.AddrPort{before, after} {
		if err := writeTo(target, numbered(i), to); err != nil {
			t.Fatal(err)
		}
	}
	caller.awaitCount(t, 1)
	if got := caller.take(1); got[0] != 1 || caller.count.Load() != 1 {
		t.Errorf("the client got %v of %d datagrams", got, caller.count.Load())
	}
}
