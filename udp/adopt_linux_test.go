package udp

import (
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// passOn duplicates a socket's descriptor, as passing it to another process does.
func passOn(t testing.TB, s *Socket) int {
	t.Helper()
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD, 0) // close-on-exec is not passed on
	if err != nil {
		t.Fatal(err)
	}
	return fd
}

// takeOver adopts a group from its descriptors and closes the former sockets.
func takeOver(t testing.TB, group []*Socket, o Options) []*Socket {
	t.Helper()
	var fds []int
	for _, s := range group {
		fds = append(fds, passOn(t, s))
	}
	next, err := AdoptFront(fds, group[0].Local(), o)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range group {
		ok(t, s.Close())
		t.Cleanup(func() { _ = next[i].Close() })
	}
	return next
}

func TestAdoptedSocketsLoseNothing(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		const rounds, flows, each = 50, 16, 5
		group, err := OpenFront(netip.AddrPortFrom(ip, 0), 2, Options{RecvBuf: 4 << 20})
		if err != nil {
			t.Fatal(err)
		}
		before := openFiles(t)
		var peers []*net.UDPConn
		for range flows {
			peers = append(peers, openPeer(t, ip))
		}
		member, seen := map[addr.AddrPort]int{}, map[addr.AddrPort]int{}
		batch := openBatch(t, flows*each, 2048)
		for range rounds {
			for _, p := range peers {
				for n := range each {
					if _, err := p.WriteToUDPAddrPort(payload(n, 20), group[0].Local()); err != nil {
						t.Fatal(err)
					}
				}
			}
			group = takeOver(t, group, Options{})
			for m, s := range group {
				n, err := batch.Receive(s)
				if err != nil {
					t.Fatal(err)
				}
				for i := range n {
					d := batch.At(i)
					if other, known := member[d.From]; known && other != m {
						t.Fatalf("flow %s moved from member %d to %d", d.From, other, m)
					}
					if want := payload(seen[d.From]%each, 20); string(d.Data) != string(want) {
						t.Fatalf("flow %s: %.4q, want %.4q", d.From, d.Data, want)
					}
					member[d.From] = m
					seen[d.From]++
				}
			}
		}
		for from, n := range seen {
			if n != rounds*each {
				t.Errorf("%d of %s, want %d", n, from, rounds*each)
			}
		}
		if len(seen) != flows {
			t.Errorf("%d flows, want %d", len(seen), flows)
		}
		if now := openFiles(t) - flows; now != before {
			t.Errorf("%d files open, %d before", now, before)
		}
		if flags, err := unix.FcntlInt(uintptr(group[0].fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor flags %x, %v; want close-on-exec", flags, err)
		}
		if recv, _ := group[0].GrantedBuffers(); recv == 0 {
			t.Error("no receive buffer noted")
		}
	})
}

// A steered group stays steered, though no socket of the process that steered it is left.
func TestAdoptedGroupKeepsItsSteering(t *testing.T) {
	group, steer := openSteered(t)
	group = takeOver(t, group, Options{Steer: steer})
	const flows = 32
	for member, cpu := range steer {
		sendFrom(t, cpu, group[0].Local(), flows)
		b := openBatch(t, 2*flows, 2048)
		for i, s := range group {
			n, err := b.Receive(s)
			if want := flows * (1 - abs(i-member)); err != nil || n != want {
				t.Errorf("from CPU %d: member %d received %d datagrams, %v; want %d", cpu, i, n, err, want)
			}
		}
	}
}

// The address that a caller dialled is known on wildcard sockets, the error queue is read on
// those towards backends.
func TestAdoptedSocketsKeepTheirMessages(t *testing.T) {
	front := openFront(t, netip.MustParseAddrPort("0.0.0.0:0"), Options{})
	front = takeOver(t, []*Socket{front}, Options{})[0]
	peer := openPeer(t, loopbacks["IPv4"])
	if _, err := peer.WriteToUDPAddrPort(payload(1, 20), at(front, loopbacks["IPv4"])); err != nil {
		t.Fatal(err)
	}
	b := openBatch(t, 4, 2048)
	receive(t, b, front)
	if d := b.At(0); d.Local != addr.FromIP(loopbacks["IPv4"]) {
		t.Errorf("dialled %s", d.Local)
	}

	back := openBack(t, loopbacks["IPv4"], Options{})
	NewOutbox(back).sendOne(closedPort(t, loopbacks["IPv4"]), payload(2, 64))
	next, err := AdoptBack(passOn(t, back), back.Local(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	ok(t, back.Close())
	if n := next.ReadErrors(10, func(r Refusal) {
		if r.Kind != KindRefused {
			t.Errorf("refusal %+v", r)
		}
	}); n != 1 {
		t.Errorf("%d refusals, want the one from before", n)
	}
}

// trainsTo sends trains of datagrams to a socket, and returns them.
func trainsTo(t *testing.T, to netip.AddrPort, from *Outbox, first int) (want [][]byte) {
	t.Helper()
	for i := range 60 {
		want = append(want, payload(first+i, 1332))
		from.Add(addr.From(to), addr.IP{}, 0, want[i])
		if i%20 == 19 {
			from.Flush()
		}
	}
	return want
}

// GRO that the new process does not want ends when no train is left that would be read
// without its stride.
func TestAdoptedSocketEndsGRO(t *testing.T) {
	ip := loopbacks["IPv4"]
	front := openFront(t, netip.AddrPortFrom(ip, 0), Options{GRO: true, RecvBuf: 4 << 20})
	out := NewOutbox(openBack(t, ip, Options{GSO: true}))
	want := trainsTo(t, front.Local(), out, 0)
	front = takeOver(t, []*Socket{front}, Options{})[0]
	if !front.HasGRO() {
		t.Fatal("GRO is off while trains are queued")
	}
	want = append(want, trainsTo(t, front.Local(), out, 100)...)
	front.Configure(Options{RecvBuf: 4 << 20})
	b := openBatch(t, 2, 65536)
	wantPayloads(t, receiveAll(t, b, front, len(want)), want)
	if !front.HasGRO() {
		t.Error("GRO ended before the queue was seen empty")
	}
	if n, err := b.Receive(front); n != 0 || err != nil || front.HasGRO() {
		t.Errorf("empty queue: %d messages, %v, GRO %v", n, err, front.HasGRO())
	}
	want = trainsTo(t, front.Local(), out, 200)
	for _, d := range receiveAll(t, openBatch(t, 64, 2048), front, len(want)) {
		if d.train != 1 {
			t.Fatalf("train of %d after the end of GRO", d.train)
		}
	}
	front.Configure(Options{GRO: true})
	if !front.HasGRO() {
		t.Error("GRO does not begin again")
	}
}

// A train that comes between the last receive call and the end of GRO is read whole.
func TestTrainAtTheEndOfGRO(t *testing.T) {
	ip := loopbacks["IPv4"]
	front := openFront(t, netip.AddrPortFrom(ip, 0), Options{GRO: true, RecvBuf: 4 << 20})
	out := NewOutbox(openBack(t, ip, Options{GSO: true}))
	front.Configure(Options{RecvBuf: 4 << 20})
	want := trainsTo(t, front.Local(), out, 0)
	front.tryEndGRO()
	wantPayloads(t, receiveAll(t, openBatch(t, 4, 65536), front, len(want)), want)
}

func TestConfigureSetsBuffers(t *testing.T) {
	front := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{RecvBuf: 100_000, SendBuf: 90_000})
	recv, send := front.GrantedBuffers()
	front = takeOver(t, []*Socket{front}, Options{RecvBuf: 50_000, SendBuf: 40_000})[0]
	if r, s := front.GrantedBuffers(); r != recv || s != send {
		t.Errorf("adopting changed the buffers from %d, %d to %d, %d", recv, send, r, s)
	}
	front.Configure(Options{RecvBuf: 50_000, SendBuf: 40_000})
	if r, s := front.GrantedBuffers(); r != 50_000 || s != 40_000 {
		t.Errorf("buffers of %d and %d bytes", r, s)
	}
	ok(t, front.Close())
	front.Configure(Options{}) // does nothing
}

func TestAdoptRefuses(t *testing.T) {
	ip := loopbacks["IPv4"]
	front, back := openFront(t, netip.AddrPortFrom(ip, 0), Options{}), openBack(t, ip, Options{})
	elsewhere := netip.MustParseAddrPort("127.0.0.2:1")
	socket := func(domain, kind, protocol int) int {
		fd, err := unix.Socket(domain, kind, protocol)
		if err != nil {
			t.Fatal(err)
		}
		return fd
	}
	connected := func() int {
		s := openBack(t, ip, Options{})
		ok(t, unix.Connect(s.fd, &unix.SockaddrInet4{Port: int(front.Local().Port()), Addr: ip.As4()}))
		return passOn(t, s)
	}
	pipe := make([]int, 2)
	ok(t, unix.Pipe(pipe))
	ok(t, unix.Close(pipe[1]))
	for name, c := range map[string]struct {
		fd     int
		local  netip.AddrPort
		shared bool
		says   string
	}{
		"not open":      {1 << 20, elsewhere, true, "not a UDP socket"},
		"pipe":          {pipe[0], elsewhere, true, "not a UDP socket"},
		"TCP":           {socket(unix.AF_INET, unix.SOCK_STREAM, 0), elsewhere, true, "not a UDP socket"},
		"unix":          {socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0), elsewhere, true, "not a UDP socket"},
		"IPv6":          {socket(unix.AF_INET6, unix.SOCK_DGRAM, 0), elsewhere, true, "address family"},
		"elsewhere":     {passOn(t, front), elsewhere, true, "bound to " + front.Local().String()},
		"not in front":  {passOn(t, back), back.Local(), true, "SO_REUSEPORT"},
		"not behind":    {passOn(t, front), front.Local(), false, "SO_REUSEPORT"},
		"connected one": {connected(), netip.AddrPort{}, false, "connected"},
	} {
		t.Run(name, func(t *testing.T) {
			local := c.local
			if !local.IsValid() {
				local, _ = localOf(c.fd)
			}
			var err error
			if c.shared {
				_, err = AdoptFront([]int{c.fd, passOn(t, front)}, local, Options{})
			} else {
				_, err = AdoptBack(c.fd, local, Options{})
			}
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line that says %q", err, c.says)
			}
			if _, err := unix.FcntlInt(uintptr(c.fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
				t.Errorf("the descriptor is still open: %v", err)
			}
		})
	}
}

func TestServes(t *testing.T) {
	for _, c := range []struct {
		bound, listen string
		want          bool
	}{
		{"127.0.0.1:9000", "127.0.0.1:9000", true},
		{"127.0.0.1:9000", "127.0.0.1:0", true},
		{"127.0.0.1:9000", "127.0.0.1:9001", false},
		{"127.0.0.1:9000", "127.0.0.2:9000", false},
		{"[::]:9000", "[::]:9000", true},
		{"[::]:9000", "0.0.0.0:9000", false},
		{"0.0.0.0:9000", "[::]:9000", !hasIPv6()},
		{"[fe80::1%1]:9000", "[fe80::1%lo]:9000", true},
		{"[fe80::1%1]:9000", "[fe80::1%2]:9000", false},
		{"[fe80::1%1]:9000", "[fe80::1%nosuchdevice]:9000", false},
	} {
		if got := Serves(netip.MustParseAddrPort(c.bound), netip.MustParseAddrPort(c.listen)); got != c.want {
			t.Errorf("%s for %s: %v", c.bound, c.listen, got)
		}
	}
}

func TestAtMonotonic(t *testing.T) {
	value, err := Monotonic()
	ok(t, err)
	now := time.Now()
	for _, back := range []time.Duration{0, time.Second, value} {
		at, err := AtMonotonic(value - back)
		ok(t, err)
		if apart := now.Sub(at) - back; apart < -time.Millisecond || apart > time.Second {
			t.Errorf("%v ago by one clock is %v more by the other", back, apart)
		}
	}
	// Twice the same instant.
	a, _ := AtMonotonic(value)
	b, _ := AtMonotonic(value)
	if apart := a.Sub(b).Abs(); apart > time.Millisecond {
		t.Errorf("%v apart", apart)
	}
}

// The file of a process makes way for its successor's, and comes back if that process has to
// go on.
func TestDisplacedFileIsReclaimed(t *testing.T) {
	path := filepath.Join(memoryDir(t), "file")
	ok(t, DisplacePrivate(path)) // there is none yet
	f := openedPrivate(t, path)
	ok(t, f.Reset(8192))
	ok(t, f.Reserve(0, 8192))
	f.Bytes()[0] = 1
	ok(t, f.Reclaim()) // it has its name
	ok(t, DisplacePrivate(path))
	g := openedPrivate(t, path)
	ok(t, g.Reset(8192))
	ok(t, g.Reserve(0, 8192))
	g.Bytes()[0] = 2
	f.Bytes()[1] = 3 // its own file still
	ok(t, g.Close())
	ok(t, f.Reclaim())
	ok(t, f.Close())
	again := openedPrivate(t, path)
	ok(t, again.Data(func(_ int64, b []byte) bool {
		if b[0] != 1 || b[1] != 3 {
			t.Errorf("content %v", b[:2])
		}
		return false
	}))

	// The one that was taken over from removes its own file only.
	ok(t, DisplacePrivate(path))
	next := openedPrivate(t, path)
	ok(t, again.Remove())
	if _, err := unix.Open(path+displaced, unix.O_RDONLY, 0); !errors.Is(err, unix.ENOENT) {
		t.Errorf("the displaced file is left: %v", err)
	}
	if !next.named() {
		t.Error("the successor's file is gone")
	}
	ok(t, again.Reclaim()) // nothing to reclaim
	if !next.named() {
		t.Error("the successor's file is gone")
	}
}
