package udp

import (
	"net/netip"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/pool"
)

// resident counts the bytes of b that take memory.
func resident(t *testing.T, b []byte) int {
	t.Helper()
	pages := make([]byte, (len(b)+smallPage-1)/smallPage)
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&pages[0])))
	if errno != 0 {
		t.Fatal(errno)
	}
	n := 0
	for _, page := range pages {
		n += int(page&1) * smallPage
	}
	return n
}

// The bug: the memory of a whole batch, 16 MiB and more, was touched when it
// was made, for each of 128 shards whether anything came there or not.
func TestIdleBatchTakesMemoryAsDatagramsCome(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), bothOffloads)
	b, err := NewIdleBatch(8, pool.TrainSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if n := resident(t, b.memory); n != 0 {
		t.Errorf("%d bytes are resident before anything came", n)
	}
	peer := openPeer(t, loopbacks["IPv4"])
	for i := range 4 {
		if _, err := peer.WriteToUDPAddrPort(payload(i, 1332), s.Local()); err != nil {
			t.Fatal(err)
		}
	}
	if n := receive(t, b, s); n != 4 {
		t.Fatalf("%d datagrams", n)
	}
	if n := resident(t, b.memory); n == 0 || n > 4*2*smallPage {
		t.Errorf("%d bytes are resident for 4 datagrams", n)
	}
}

// A batch for traffic is in place when it is made: no page is first touched
// under a packet.
func TestBatchIsInPlace(t *testing.T) {
	b := openBatch(t, 32, pool.TrainSize)
	if n := resident(t, b.memory); n < 32*pool.TrainSize {
		t.Errorf("%d bytes of %d are resident", n, len(b.memory))
	}
}

// An idle batch takes a train of the greatest length whole.
func TestIdleBatchTakesAWholeTrain(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), bothOffloads)
	b, err := NewIdleBatch(2, pool.TrainSize)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	o := NewOutbox(openBack(t, loopbacks["IPv4"], bothOffloads))
	for i := range 63 {
		o.Add(addr.From(s.Local()), addr.IP{}, 0, payload(i, 1039))
	}
	o.Flush()
	receive(t, b, s)
	if d := b.At(0); d.Truncated || d.Stride != 1039 || len(d.Data) != 63*1039 {
		t.Errorf("%d bytes, stride %d, truncated %v", len(d.Data), d.Stride, d.Truncated)
	}
}

func TestBatchSizes(t *testing.T) {
	for _, c := range []struct {
		most, size int
		want       []int
	}{
		{256, pool.TrainSize, []int{16, 32, 64, 128, 256}},
		{1024, pool.TrainSize, []int{16, 32, 64, 128, 256, 512, 1024}},
		{128, pool.TrainSize, []int{16, 32, 64, 128}},
		{40, pool.TrainSize, []int{16, 40}},
		{17, pool.TrainSize, []int{16, 17}},
		{8, pool.TrainSize, []int{8}},
		{1, pool.TrainSize, []int{1}},
		{256, pool.SingleSize, []int{16, 256}},
		{1024, pool.SingleSize, []int{16, 1024}},
	} {
		if got := BatchSizes(c.most, c.size); !slices.Equal(got, c.want) {
			t.Errorf("up to %d messages of %d: %v, want %v", c.most, c.size, got, c.want)
		}
	}
	for _, n := range []int{1, 31, 32, 33, 256} {
		if n*pool.TrainSize > BatchBytes(n, pool.TrainSize) || BatchBytes(n, pool.TrainSize)%hugePage != 0 {
			t.Errorf("%d messages take %d bytes", n, BatchBytes(n, pool.TrainSize))
		}
	}
}
