//go:build linux

package socket

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func openSocket(t *testing.T, o Options) int {
	t.Helper()
	o.Buffer = 1 << 20
	fd, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

func localOf(t *testing.T, fd int) netip.AddrPort {
	t.Helper()
	a, err := Local(fd)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// awaitReadable fails if nothing comes.
func awaitReadable(t *testing.T, fd int) {
	t.Helper()
	r, err := NewReady()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Add(fd, 7); err != nil {
		t.Fatal(err)
	}
	if n := r.Wait(int64(10 * time.Second)); n != 1 || r.Number(0) != 7 {
		t.Fatalf("%d sockets readable", n)
	}
}

func TestThereAndBack(t *testing.T) {
	for _, loop := range []string{"127.0.0.1:0", "[::1]:0"} {
		clock := NewClock()
		server := openSocket(t, Options{Local: netip.MustParseAddrPort(loop)})
		client := openSocket(t, Options{Remote: localOf(t, server)})
		before := clock.Now()
		for range 3 {
			if !Send(client, []byte("abc")) {
				t.Fatal("not sent")
			}
		}
		awaitReadable(t, server)
		r := NewReceiver(clock, true, false)
		if n := r.Receive(server); n != 3 {
			t.Fatalf("%d messages", n)
		}
		out := NewOutbox(server, clock, 1)
		var lags int
		out.OnLag(func(ns int64) { lags++ })
		for i := range 3 {
			b, stride, at := r.Message(i)
			if string(b) != "abc" || stride != 3 {
				t.Fatalf("message %d: %q by %d", i, b, stride)
			}
			// The kernel's stamp is of another clock: 1 ms is far more than they differ.
			if ms := int64(time.Millisecond); at < before-ms || at > clock.Now()+ms {
				t.Errorf("arrived at %d, sent after %d", at, before)
			}
			from := r.From(i)
			if from.AddrPort() != localOf(t, client) || *from != AddressOf(localOf(t, client)) {
				t.Errorf("from %v, want %v", from.AddrPort(), localOf(t, client))
			}
			copy(out.Next(), "........9")
			if i == 1 {
				out.PutTimed(9, from, 1)
			} else {
				out.Put(9, from)
			}
		}
		out.Flush()
		awaitReadable(t, client)
		if n := r.Receive(client); n != 3 || out.TakeUnsent() != 0 || lags != 1 {
			t.Fatalf("%d answers, %d lags", n, lags)
		}
		plain, _, _ := r.Message(0)
		timed, _, at := r.Message(1)
		if string(plain) != "........9" {
			t.Errorf("without a time: %q", plain)
		}
		if sent := int64(binary.BigEndian.Uint64(timed[1:])); sent > at+int64(time.Millisecond) || sent < before {
			t.Errorf("sent at %d, arrived at %d", sent, at)
		}
		if r.Receive(client) != 0 {
			t.Error("something else came")
		}
	}
}

// With one datagram per call, none waits for the next one, and each bears the time of its own call.
func TestOutboxSendsOneByOne(t *testing.T) {
	clock := NewClock()
	server := openSocket(t, Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	client := openSocket(t, Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	out, to := NewOutbox(client, clock, 0), AddressOf(localOf(t, server))
	out.AtMost(1)
	r, last := NewReceiver(clock, false, false), clock.Now()-1
	for range OutboxMessages {
		clear(out.Next()[:8])
		out.PutTimed(8, &to, 1)
		awaitReadable(t, server)
		if n := r.Receive(server); n != 1 {
			t.Fatalf("%d messages", n)
		}
		b, _, _ := r.Message(0)
		sent := int64(binary.BigEndian.Uint64(b))
		if sent <= last {
			t.Errorf("sent at %d, the one before at %d", sent, last)
		}
		last = sent
	}
}

// A port that nobody listens on costs no datagram to one that comes later.
func TestSendAfterRefusal(t *testing.T) {
	gone, err := Open(Options{Local: netip.MustParseAddrPort("127.0.0.1:0"), Buffer: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	client := openSocket(t, Options{Remote: localOf(t, gone)})
	if err := unix.Close(gone); err != nil {
		t.Fatal(err)
	}
	for range 4 {
		if !Send(client, []byte("x")) {
			t.Error("not sent")
		}
	}
}

// A message that is longer than a segment leaves as one train; a shorter one by itself.
func TestTrainsStayWhole(t *testing.T) {
	const segment, segments = 1000, 16
	server := openSocket(t, Options{Local: netip.MustParseAddrPort("127.0.0.1:0"), Buffer: 1 << 20, GRO: true})
	client := openSocket(t, Options{Remote: localOf(t, server), Buffer: 1 << 20, Segment: segment})
	r := NewReceiver(NewClock(), false, true)
	for _, want := range []struct{ size, stride int }{{segments * segment, segment}, {20, 20}} {
		if !Send(client, make([]byte, want.size)) {
			t.Fatalf("%d bytes were not sent", want.size)
		}
		awaitReadable(t, server)
		if n := r.Receive(server); n != 1 {
			t.Fatalf("%d bytes came as %d messages", want.size, n)
		}
		if b, stride, _ := r.Message(0); len(b) != want.size || stride != want.stride {
			t.Errorf("%d bytes came as %d in datagrams of %d", want.size, len(b), stride)
		}
	}
}

// A datagram without a stamp must not cost the next one its own.
func TestStampAfterNone(t *testing.T) {
	server := openSocket(t, Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	client := openSocket(t, Options{Remote: localOf(t, server)})
	r := NewReceiver(NewClock(), false, false)
	for _, on := range []int{1, 0, 1} {
		if err := unix.SetsockoptInt(server, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, on); err != nil {
			t.Fatal(err)
		}
		Send(client, []byte("x"))
		awaitReadable(t, server)
		if n := r.Receive(server); n != 1 {
			t.Fatalf("%d messages", n)
		}
		if _, _, at := r.Message(0); (at != 0) != (on == 1) {
			t.Errorf("stamps %d: arrived at %d", on, at)
		}
	}
}

func TestClockIsMonotonic(t *testing.T) {
	c := NewClock()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	if d := c.Now() - ts.Nano(); d < -int64(time.Millisecond) || d > int64(10*time.Second) {
		t.Errorf("%v off", time.Duration(d))
	}
	if err := unix.ClockGettime(unix.CLOCK_REALTIME, &ts); err != nil {
		t.Fatal(err)
	}
	if d := c.Now() - c.Monotonic(ts.Nano()); d < -int64(time.Millisecond) || d > int64(10*time.Second) {
		t.Errorf("realtime %v off", time.Duration(d))
	}
}

const routes = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100A8C0	0003	0	0	0	00000000	0	0	0
eth0	0000A8C0	00000000	0001	0	0	0	0000FFFF	0	0	0
v0	004D0A0A	00000000	0001	0	0	0	00FFFFFF	0	0	0
bad	zz	00000000	0001	0	0	0	FFFFFFFF	0	0	0
`

func TestRoutes(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the text is of a little-endian machine")
	}
	for ip, want := range map[string]string{
		"10.10.77.2":  "v0 10.10.77.2",
		"192.168.7.7": "eth0 192.168.7.7",
		"8.8.8.8":     "eth0 192.168.0.1",
	} {
		device, hop, err := readRoutes(strings.NewReader(routes), netip.MustParseAddr(ip))
		if got := device + " " + hop.String(); err != nil || got != want {
			t.Errorf("%s: %s, %v, want %s", ip, got, err, want)
		}
	}
	if _, _, err := readRoutes(strings.NewReader("Iface\n"), netip.MustParseAddr("8.8.8.8")); err == nil {
		t.Error("a route out of nothing")
	}
}

func TestNeighbours(t *testing.T) {
	const table = `IP address       HW type     Flags       HW address            Mask     Device
10.77.0.2        0x1         0x0         00:00:00:00:00:00     *        v0
10.77.0.2        0x1         0x2         0a:0b:0c:0d:0e:0f     *        v0
10.77.0.3        0x1         0x2         01:01:01:01:01:01     *        v9
`
	mac, err := readNeighbours(strings.NewReader(table), netip.MustParseAddr("10.77.0.2"), "v0")
	if err != nil || mac != [6]byte{10, 11, 12, 13, 14, 15} {
		t.Errorf("%x, %v", mac, err)
	}
	if _, err := readNeighbours(strings.NewReader(table), netip.MustParseAddr("10.77.0.3"), "v0"); err == nil {
		t.Error("a neighbour on another interface")
	}
}

func TestHead(t *testing.T) {
	p := &Path{source: [6]byte{1, 2, 3, 4, 5, 6}, next: [6]byte{7, 8, 9, 10, 11, 12}}
	h := p.Head(netip.MustParseAddrPort("255.255.0.1:4000"), netip.MustParseAddrPort("10.77.0.2:20080"))
	for _, n := range []int{20, 44, 1332, 1472} {
		b := make([]byte, frameSize+n)
		for i := range n {
			b[frameSize+i] = byte(i * 7)
		}
		h.write(b, n)
		offload, ether, ip := b[:offloadSize], b[offloadSize:], b[ipAt:]
		if sum := sumOf(ip[:ipSize]); sum != 0xffff {
			t.Errorf("%d bytes: the checksum is wrong: %x", n, sum)
		}
		if got := int(binary.BigEndian.Uint16(ip[2:])); got != 28+n {
			t.Errorf("%d bytes: IP length %d", n, got)
		}
		if want := []byte{0x0f, 0xa0, 0x4e, 0x70, byte((8 + n) >> 8), byte(8 + n)}; !bytes.Equal(b[udpAt:][:6], want) {
			t.Errorf("%d bytes: UDP % x, want % x", n, b[udpAt:][:6], want)
		}
		if want := []byte{7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 8, 0}; !bytes.Equal(ether[:14], want) {
			t.Errorf("Ethernet % x", ether[:14])
		}
		// What the device does: from the start on it sums up, and writes the complement.
		start, offset := binary.NativeEndian.Uint16(offload[6:]), binary.NativeEndian.Uint16(offload[8:])
		if offload[0] != 1 {
			t.Errorf("%d bytes: flags %d", n, offload[0])
		}
		binary.BigEndian.PutUint16(ether[start+offset:], ^sumOf(ether[start:]))
		pseudo := append([]byte{255, 255, 0, 1, 10, 77, 0, 2, 0, 17, byte((8 + n) >> 8), byte(8 + n)}, ip[ipSize:]...)
		if sum := sumOf(pseudo); sum != 0xffff {
			t.Errorf("%d bytes: the UDP checksum is wrong: %x", n, sum)
		}
	}
}

// sumOf adds 16-bit words as RFC 1071 does; their number is even here.
func sumOf(b []byte) uint16 {
	sum := uint64(0)
	for ; len(b) > 0; b = b[2:] {
		sum += uint64(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return uint16(sum)
}

func TestPathNeedsEthernet(t *testing.T) {
	for _, to := range []string{"::1", "127.0.0.1"} {
		if p, err := OpenPath(netip.MustParseAddr(to)); err == nil {
			t.Errorf("frames to %s", to)
			_ = p.Close()
		}
	}
}

// Sending and receiving must not allocate: the collector is off.
func TestNoAllocations(t *testing.T) {
	clock := NewClock()
	server := openSocket(t, Options{Local: netip.MustParseAddrPort("127.0.0.1:0")})
	client := openSocket(t, Options{Remote: localOf(t, server)})
	r, out := NewReceiver(clock, true, false), NewOutbox(server, clock, 0)
	to := AddressOf(localOf(t, client))
	b := make([]byte, 100)
	if n := testing.AllocsPerRun(200, func() {
		Send(client, b)
		for i := range r.Receive(server) {
			r.Message(i)
		}
		out.PutTimed(100, &to, 1)
		out.Flush()
		for i := range r.Receive(client) {
			r.Message(i)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
