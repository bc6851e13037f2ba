package kernelpath

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/internal/need"
)

// setChecksumOffload has a device of the thread's namespace compute the checksums of what
// it sends, or not: ETHTOOL_STXCSUM of linux/ethtool.h.
func setChecksumOffload(name string, on bool) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	value := struct{ cmd, data uint32 }{0x17, 0}
	if on {
		value.data = 1
	}
	request := struct {
		name  [unix.IFNAMSIZ]byte
		value unsafe.Pointer
		_     [16]byte
	}{value: unsafe.Pointer(&value)}
	copy(request.name[:], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("set the offload of %s: %w", name, errno)
	}
	return nil
}

// network is a relay's host between callers and backends, each in a namespace.
type network struct {
	t                        testing.TB
	callers, relay, backends *namespace
	path                     *Path
	next                     uint32 // place
}

// Addresses of a network. The relay's host has .1 of each.
var (
	callerAddresses  = map[int]string{4: "192.0.2.2", 6: "2001:db8::2"}
	frontAddresses   = map[int]string{4: "192.0.2.1", 6: "2001:db8::1"}
	backendAddresses = map[int]string{4: "198.51.100.2", 6: "2001:db8:1::2"}
	localAddresses   = map[int]string{4: "127.0.0.1", 6: "::1"}
)

func newNetwork(t testing.TB) *network {
	w := &network{t: t, callers: newNamespace(t), relay: newNamespace(t), backends: newNamespace(t)}
	w.relay.addVeth(
		t, "wan", []string{"192.0.2.1/24", "2001:db8::1/64"},
		w.callers, []string{"192.0.2.2/24", "2001:db8::2/64"},
	)
	w.relay.addVeth(
		t, "lan", []string{"198.51.100.1/24", "2001:db8:1::1/64"},
		w.backends, []string{"198.51.100.2/24", "2001:db8:1::2/64"},
	)
	return w
}

// setOffloads sets who computes checksums, at both ends of a veth.
func (w *network) setOffloads(name string, other *namespace, on bool) {
	w.t.Helper()
	w.relay.do(w.t, func() error { return setChecksumOffload(name, on) })
	other.do(w.t, func() error { return setChecksumOffload(name+"-peer", on) })
}

// listen opens a socket with a large buffer, which sends with a TTL that the program must
// change.
func (w *network) listen(n *namespace, address string) *net.UDPConn {
	w.t.Helper()
	var conn *net.UDPConn
	n.do(w.t, func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 0)))
		if err != nil {
			return err
		}
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		return errors.Join(err, raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, 50)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 50)
		}))
	})
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func local(c *net.UDPConn) addr.AddrPort { return addr.From(c.LocalAddr().(*net.UDPAddr).AddrPort()) }

// session enters a session whose ways are on.
func (w *network) session(caller, backend *net.UDPConn, front string) Session {
	w.t.Helper()
	s := w.path.Shard(0)
	e := Session{
		Place: w.next, Gen: 1, Caller: local(caller), Backend: local(backend),
		Front: endpoint(netip.AddrPortFrom(netip.MustParseAddr(front), 20080).String()), Upstream: addr.AddrPort{Port: 30000 + uint16(w.next)},
		CallerID: callerID + w.next, BackendID: backendID + w.next,
	}
	w.next++
	s.Reset(e.Place, e.Gen)
	if err := s.Enter(&e); err != nil {
		w.t.Fatal(err)
	}
	for way := range 2 {
		s.Way(e.Place, way).setOn()
	}
	w.t.Cleanup(func() { s.Leave(&e) })
	return e
}

// pass sends datagrams of several sizes, and checks that they arrive as they were.
func pass(t testing.TB, from, to *net.UDPConn, dialled, source addr.AddrPort, id uint32) {
	t.Helper()
	got := make([]byte, 2000)
	for _, size := range []int{0, 1, 99, 1300} {
		p := dataOf(uint32(size), plain, id, size)
		if _, err := from.WriteToUDPAddrPort(p, dialled.Netip()); err != nil {
			t.Fatal(err)
		}
		_ = to.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, peer, err := to.ReadFromUDPAddrPort(got)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes: lost", len(p))
			return
		}
		if err != nil || !bytes.Equal(got[:n], p) || addr.From(peer) != source {
			t.Errorf("%d bytes: %d from %s, want those of %s (%v)", len(p), n, peer, source, err)
		}
	}
}

// both passes datagrams to a backend and back.
func (w *network) both(t *testing.T, family int, backends *namespace, backend string) {
	w.t = t
	caller, server := w.listen(w.callers, callerAddresses[family]), w.listen(backends, backend)
	e := w.session(caller, server, frontAddresses[family])
	pass(t, caller, server, e.Front, e.Upstream, e.BackendID)
	pass(t, server, caller, e.Upstream, e.Front, e.CallerID)
	for way := range 2 {
		if p := w.path.Shard(0).Way(e.Place, way).Passed(); p.Packets != 4 && !t.Failed() {
			t.Errorf("%d datagrams passed on way %d, want 4", p.Packets, way)
		}
	}
}

// Sockets accept what the program sends on, whoever computes checksums: the sender (NONE),
// or the device (PARTIAL).
func TestChecksumsOfDevices(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	for _, wan := range []bool{true, false} {
		for _, lan := range []bool{true, false} {
			w.setOffloads("wan", w.callers, wan)
			w.setOffloads("lan", w.backends, lan)
			for _, family := range []int{4, 6} {
				t.Run(fmt.Sprintf("IPv%d, offload %v, to a socket of the host", family, wan), func(t *testing.T) {
					w.both(t, family, w.relay, localAddresses[family])
				})
				t.Run(fmt.Sprintf("IPv%d, offload %v, to the host's own address", family, wan), func(t *testing.T) {
					w.both(t, family, w.relay, frontAddresses[family])
				})
				t.Run(fmt.Sprintf("IPv%d, offloads %v and %v, to another host", family, wan, lan), func(t *testing.T) {
					w.both(t, family, w.backends, backendAddresses[family])
				})
			}
		}
	}
}

// A datagram to an address of the host that is not lo's has lo's until the program sees it there.
// Where it does not, one datagram is lost, and no other.
func TestAddressIsNotGivenBack(t *testing.T) {
	w := newNetwork(t)
	w.path = w.relay.open(t)
	caller, server := w.listen(w.callers, callerAddresses[4]), w.listen(w.relay, frontAddresses[4])
	e := w.session(caller, server, frontAddresses[4])
	pass(t, caller, server, e.Front, e.Upstream, e.BackendID)
	w.path.hooks.attached[loopback].detach()
	if _, err := caller.WriteToUDPAddrPort(dataOf(1, plain, e.BackendID, 10), e.Front.Netip()); err != nil {
		t.Fatal(err)
	}
	pass(t, caller, server, e.Front, e.Upstream, e.BackendID)
}

// A tunnel hands up datagrams with COMPLETE checksums: the sum of the outer datagram has
// been computed, and that of the inner one follows from it.
func TestCompleteChecksums(t *testing.T) {
	w := newNetwork(t)
	w.setOffloads("wan", w.callers, false)
	for _, one := range []struct {
		n           *namespace
		local, peer string
		addresses   []string
	}{
		{w.relay, "192.0.2.1", "192.0.2.2", []string{"10.1.0.1/24", "2001:db8:2::1/64"}},
		{w.callers, "192.0.2.2", "192.0.2.1", []string{"10.1.0.2/24", "2001:db8:2::2/64"}},
	} {
		tunnel := &netlink.Vxlan{
			LinkAttrs: named("tunnel"), VxlanId: 7, Port: 4789, UDPCSum: true,
			SrcAddr: net.ParseIP(one.local), Group: net.ParseIP(one.peer),
		}
		one.n.do(t, func() error { return netlink.LinkAdd(tunnel) })
		one.n.do(t, func() error { return setUp(tunnel, one.addresses...) })
	}
	w.path = w.relay.open(t)
	callers, fronts := map[int]string{4: "10.1.0.2", 6: "2001:db8:2::2"}, map[int]string{4: "10.1.0.1", 6: "2001:db8:2::1"}
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			w.t = t
			caller, server := w.listen(w.callers, callers[family]), w.listen(w.relay, localAddresses[family])
			e := w.session(caller, server, fronts[family])
			pass(t, caller, server, e.Front, e.Upstream, e.BackendID)
			pass(t, server, caller, e.Upstream, e.Front, e.CallerID)
			// What is for a virtual device goes up: it would arrive with a wrong sum.
			e = w.session(caller, w.listen(w.backends, backendAddresses[family]), fronts[family])
			if _, err := caller.WriteToUDPAddrPort(dataOf(1, plain, e.BackendID, 10), e.Front.Netip()); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(20 * time.Second)
			for w.up(t, "tunnel", pathReasonUP_CHECKSUM) == 0 {
				if time.Now().After(deadline) {
					need.Skip(t, "this kernel's tunnels hand up no COMPLETE checksums")
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
}

// up returns how many datagrams have gone up at a device for a reason.
func (w *network) up(t *testing.T, name string, reason pathReason) (n uint64) {
	t.Helper()
	all, err := w.path.Devices()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		if d.Name == name {
			n += d.Up[reason]
		}
	}
	return n
}

// A checksum of 0 means that there is none: one that becomes 0 is sent as 0xffff (RFC 768).
func TestChecksumThatBecomesZero(t *testing.T) {
	r := newRig(t)
	for _, session := range []func() Session{session4, session6} {
		e := r.enter(session(), toLoopback(), r.near())
		p := dataOf(1, plain, backendID, 100)
		clear(p[20:22])
		after := frameOf(e.Upstream, e.Backend, p)
		d, _ := parse(after)
		clear(after[d.at-2 : d.at])
		sum := covered(after, d) + 17 + uint32(len(p)+8) // the pseudo header's protocol and length
		binary.BigEndian.PutUint16(p[20:], uint16(0xffff-sum%0xffff))
		before := frameOf(e.Caller, e.Front, p)
		action, out := r.run(before, skb{}, 0)
		if action != redirect {
			t.Fatalf("the program returns %d", action)
		}
		wantRewritten(t, before, out, e.Upstream, e.Backend)
		if got := binary.BigEndian.Uint16(out[d.at-2:]); got != 0xffff {
			t.Errorf("checksum %#x, want 0xffff", got)
		}
	}
}
