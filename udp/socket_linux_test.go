package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/internal/need"
)

func TestGroupOnAnyPortSharesOne(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		group, err := OpenFront(netip.AddrPortFrom(ip, 0), 4, bothOffloads)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range group {
			defer s.Close()
			if s.Local() != group[0].Local() || s.Local().Port() == 0 || s.Local().Addr() != ip {
				t.Errorf("member is bound to %s, the first to %s", s.Local(), group[0].Local())
			}
		}
	})
}

// The kernel must spread flows over all members, and keep each flow on one.
func TestGroupSharesFlows(t *testing.T) {
	group, err := OpenFront(netip.MustParseAddrPort("127.0.0.1:0"), 2, Options{})
	if err != nil {
		t.Fatal(err)
	}
	const flows, each = 64, 3
	for i := range flows {
		peer := openPeer(t, loopbacks["IPv4"])
		for range each {
			if _, err := peer.WriteToUDPAddrPort(payload(i, 20), group[0].Local()); err != nil {
				t.Fatal(err)
			}
		}
	}
	member := map[addr.AddrPort]int{}
	batch, total := openBatch(t, 64, 2048), 0
	for m, s := range group {
		defer s.Close()
		got := 0
		for {
			n, err := batch.Receive(s)
			if err != nil {
				t.Fatal(err)
			}
			if n == 0 {
				break
			}
			for i := range n {
				from := batch.At(i).From
				if other, seen := member[from]; seen && other != m {
					t.Errorf("flow %s reached two members", from)
				}
				member[from] = m
			}
			got += n
		}
		if got == 0 {
			t.Errorf("member %d got none of %d flows", m, flows)
		}
		total += got
	}
	if total != flows*each {
		t.Errorf("%d datagrams arrived of %d", total, flows*each)
	}
}

func TestBusyPortIsRefused(t *testing.T) {
	first := openFront(t, netip.MustParseAddrPort("[::]:0"), Options{})
	for _, ip := range []string{"::", "0.0.0.0", "127.0.0.1", "::1"} {
		ap := at(first, netip.MustParseAddr(ip))
		group, err := OpenFront(ap, 2, Options{})
		if !errors.Is(err, syscall.EADDRINUSE) || group != nil {
			t.Fatalf("second group on %s: %v, %v; want EADDRINUSE", ap, group, err)
		}
		if want := fmt.Sprintf("listen udp %s: address already in use", ap); err.Error() != want {
			t.Errorf("error is %q, want %q", err, want)
		}
	}
}

// SO_REUSEADDR, which go-reuseport sets too, would let sockets of any user bind
// the relay's port and take all of its flows.
func TestReuseAddrDoesNotOpenThePort(t *testing.T) {
	front := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	thief, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(thief)
	if err := unix.SetsockoptInt(thief, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := bind(thief, front.Local(), false); err != unix.EADDRINUSE {
		t.Errorf("bind with SO_REUSEADDR: %v, want EADDRINUSE", err)
	}
}

func TestAddressOfAnotherHostIsAnError(t *testing.T) {
	for _, ap := range []string{"192.0.2.77:0", "[2001:db8::77]:0"} {
		if group, err := OpenFront(netip.MustParseAddrPort(ap), 1, Options{}); err == nil {
			group[0].Close()
			t.Errorf("%s was opened", ap)
		}
	}
	if _, err := OpenFront(netip.MustParseAddrPort("127.0.0.1:0"), 0, Options{}); err == nil {
		t.Error("a group of none was opened")
	}
}

func TestNoDescriptorIsLeft(t *testing.T) {
	busy := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{})
	openPeer(t, loopbacks["IPv4"]) // the runtime's poller exists from here on
	before := openFiles(t)
	for range 3 {
		group, err := OpenFront(netip.MustParseAddrPort("[::]:0"), 8, bothOffloads)
		if err != nil {
			t.Fatal(err)
		}
		back, err := OpenBack(netip.IPv4Unspecified(), bothOffloads)
		if err != nil {
			t.Fatal(err)
		}
		if n := openFiles(t); n != before+9 {
			t.Fatalf("%d descriptors for 9 sockets", n-before)
		}
		for _, s := range append(group, back) {
			if err := errors.Join(s.Close(), s.Close()); err != nil {
				t.Error(err)
			}
		}
		if _, err := OpenFront(busy.Local(), 8, Options{}); err == nil {
			t.Fatal("busy port was opened")
		}
	}
	if n := openFiles(t); n != before {
		t.Errorf("%d descriptors left", n-before)
	}
}

func TestGrantedBuffersAreInTheUnitAskedFor(t *testing.T) {
	const want = 200_000
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{RecvBuf: want, SendBuf: want})
	if recv, send := s.GrantedBuffers(); recv != want || send != want {
		t.Errorf("granted %d and %d, want %d", recv, send, want)
	}
	if recv, send := openBack(t, loopbacks["IPv6"], Options{}).GrantedBuffers(); recv <= 0 || send <= 0 {
		t.Errorf("defaults read as %d and %d", recv, send)
	}
}

// As root a relay gets more than net.core.rmem_max allows everyone.
func TestBuffersAreForced(t *testing.T) {
	need.Root(t, "CAP_NET_ADMIN")
	const want = 32 << 20
	s := openBack(t, netip.IPv4Unspecified(), Options{RecvBuf: want, SendBuf: want})
	if recv, send := s.GrantedBuffers(); recv != want || send != want {
		t.Errorf("granted %d and %d, want %d", recv, send, want)
	}
}

func TestSwitchesKeepOffloadsOff(t *testing.T) {
	ap := netip.MustParseAddrPort("127.0.0.1:0")
	if have := openFront(t, ap, Options{}).offloads; have.gro || have.gso {
		t.Errorf("off, yet %+v", have)
	}
	if have := openFront(t, ap, bothOffloads).offloads; !have.gro || !have.gso {
		t.Errorf("this kernel has both, yet %+v", have)
	}
}

func TestBackSocketIsAloneOnItsPort(t *testing.T) {
	eachFamily(t, func(t *testing.T, ip netip.Addr) {
		unspecified := netip.IPv4Unspecified()
		if ip.Is6() {
			unspecified = netip.IPv6Unspecified()
		}
		s := openBack(t, unspecified, bothOffloads)
		if s.Local().Port() == 0 || s.Local().Addr() != unspecified {
			t.Errorf("bound to %s", s.Local())
		}
		if _, err := OpenFront(s.Local(), 1, Options{}); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a group joined a back socket's port: %v", err)
		}
	})
}

// inNamespace runs fn in a network namespace of its own.
func inNamespace(t *testing.T, fn func() error) {
	t.Helper()
	need.Root(t, "a network namespace")
	if err := namespaced(fn); err != nil {
		t.Fatal(err)
	}
}

// namespaced runs fn in a network namespace of its own with loopback up. The
// thread is not unlocked, so that it dies with its goroutine.
func namespaced(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("unshare: %w", err)
			return
		}
		done <- errors.Join(loopbackUp(), fn())
	}()
	return <-done
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// With IPv6 switched off by sysctl, all addresses are those of IPv4, and ::1
// cannot be bound.
func TestWithoutIPv6(t *testing.T) {
	inNamespace(t, func() error {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("1"), 0)
		if err != nil {
			return err
		}
		if _, err := OpenFront(netip.MustParseAddrPort("[::1]:0"), 1, Options{}); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("::1: %v, want EADDRNOTAVAIL", err)
		}
		group, err := OpenFront(netip.MustParseAddrPort("[::]:0"), 2, bothOffloads)
		if err != nil {
			return err
		}
		conn, err := net.Dial("udp4", at(group[0], loopbacks["IPv4"]).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("hello")); err != nil {
			return err
		}
		batch, total := openBatch(t, 4, 2048), 0
		for _, s := range group {
			defer s.Close()
			n, err := batch.Receive(s)
			if err != nil {
				return err
			}
			total += n
		}
		if total != 1 {
			return fmt.Errorf("%d datagrams over IPv4, want 1", total)
		}
		return nil
	})
}

func TestQueuesTellWhatWaits(t *testing.T) {
	s, b := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), bothOffloads), openBatch(t, 4, 2048)
	if q := s.Queues(); q != (Queues{}) {
		t.Errorf("a new socket has %+v", q)
	}
	peer := openPeer(t, netip.MustParseAddr("127.0.0.1"))
	if _, err := peer.WriteToUDPAddrPort(make([]byte, 1000), s.Local()); err != nil {
		t.Fatal(err)
	}
	// Loopback delivers within the call.
	if q := s.Queues(); q.Receive < 1000 {
		t.Errorf("%d bytes wait, of a datagram of 1000", q.Receive)
	}
	receive(t, b, s)
	if q := s.Queues(); q.Receive != 0 {
		t.Errorf("%d bytes wait after all was received", q.Receive)
	}
}

func TestKernelDropsAreCountedOnce(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{RecvBuf: 4096})
	peer, b := openPeer(t, loopbacks["IPv4"]), openBatch(t, 64, 2048)
	for range 3 {
		const sent = 50
		for i := range sent {
			if _, err := peer.WriteToUDPAddrPort(payload(i, 1000), s.Local()); err != nil {
				t.Fatal(err)
			}
		}
		got, err := b.Receive(s)
		if err != nil {
			t.Fatal(err)
		}
		if q := s.Queues(); q.Dropped == 0 || uint32(got)+q.Dropped != sent {
			t.Fatalf("%d sent, %d received, %d dropped", sent, got, q.Dropped)
		}
		if q := s.Queues(); q.Dropped != 0 {
			t.Errorf("%d of them dropped again", q.Dropped)
		}
	}
}

// The process that takes a socket over counts on from the one before.
func TestKernelDropsAcrossATakeOver(t *testing.T) {
	s := openFront(t, netip.MustParseAddrPort("127.0.0.1:0"), Options{RecvBuf: 4096})
	peer := openPeer(t, loopbacks["IPv4"])
	for i := range 50 {
		if _, err := peer.WriteToUDPAddrPort(payload(i, 1000), s.Local()); err != nil {
			t.Fatal(err)
		}
	}
	dropped := s.Queues().Dropped
	s.ResumeDrops(s.Drops() - 1)
	if q := s.Queues(); dropped < 2 || q.Dropped != 1 {
		t.Errorf("%d drops after all but one of %d had been counted", q.Dropped, dropped)
	}
	s.ResumeDrops(s.Drops() + 7)
	if q := s.Queues(); q.Dropped != 0 {
		t.Errorf("%d drops by the count of another socket", q.Dropped)
	}
}

// The kernel's counter has 32 bits.
func TestKernelDropsWrap(t *testing.T) {
	s := &Socket{dropped: ^uint32(0) - 1}
	if q := s.queues(&[memInfo]uint32{}); q.Dropped != 2 || s.dropped != 0 {
		t.Errorf("from 2^32-2 to 0 are %d drops", q.Dropped)
	}
}
