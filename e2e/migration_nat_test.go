//go:build linux

package e2e

import (
	enc "encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// natBox is callers behind a NAT box, in front of relays:
//
//	home 10.79.0.2 -- 10.79.0.1 NAT box 10.77.0.1, .9 -- relays
//
// The box rewrites addresses and ports without connection tracking, so that a binding
// changes between two datagrams: nft replaces all rules in one transaction. What comes for a
// binding that is no more it drops, as a NAT does.
type natBox struct {
	*kernelLab
	box, home *lab.Namespace

	relays relayList
	gosrt  map[uint16]bool // ports of gosrt's callers; the others are libsrt's
}

// natLab is a NAT box with one relay and a backend's host:
//
//	NAT box -- 10.77.0.2 relay 10.78.0.1 -- 10.78.0.2 far
type natLab struct {
	*natBox
	far *lab.Namespace
}

var (
	homeAddr = netip.MustParseAddr("10.79.0.2")
	farAddr  = netip.MustParseAddr("10.78.0.2")
	// natAddrs are the box's own addresses towards the relay.
	natAddrs = []netip.Addr{callers4, netip.MustParseAddr("10.77.0.9")}
)

// openNATLab opens the lab.
func openNATLab(t *testing.T) *natLab {
	t.Helper()
	need.Root(t, "a NAT box in a namespace")
	need.Tools(t, "ip", "nft")
	l, err := lab.Open()
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	n := &natLab{natBox: addNATBox(&kernelLab{l, t})}
	n.far = n.behind(n.Origin, "far", 78)
	n.cutSuperpackets(n.Origin, "far")
	n.cutSuperpackets(n.Origin, "veth0")
	return n
}

// addNATBox makes the callers' host of a lab a box that rewrites addresses only.
func addNATBox(k *kernelLab) *natBox {
	k.t.Helper()
	n := &natBox{kernelLab: k, box: k.Callers, gosrt: map[uint16]bool{}}
	n.home = n.behind(n.box, "home", 79)
	must(k.t, n.box.SetSysctl("net.ipv4.ip_forward", "1"))
	n.ip(n.home, "route add default via 10.79.0.1")
	n.ip(n.box, "addr add", natAddrs[1].String()+"/24 dev veth0")
	n.nft(fmt.Sprintf(`
		iifname "veth0" ip daddr %v ip daddr set %v`, natAddrs[0], homeAddr), fmt.Sprintf(`
		oifname "veth0" ip saddr %v ip saddr set %v`, homeAddr, natAddrs[0]))
	return n
}

// cutSuperpackets has a device cut superpackets before they are seen, so that each datagram is.
func (n *natBox) cutSuperpackets(at *lab.Namespace, device string) {
	n.t.Helper()
	n.ip(at, "link set", device, "gso_max_segs 1")
}

// bind gives each port of the callers' host another address and port from now on, and
// returns when that was.
func (n *natBox) bind(bindings map[uint16]netip.AddrPort) time.Time {
	n.t.Helper()
	var down, up strings.Builder
	for port, out := range bindings {
		fmt.Fprintf(&down, `
		iifname "veth0" ip daddr %v udp dport %d udp dport set %d ip daddr set %v accept`, out.Addr(), out.Port(), port, homeAddr)
		fmt.Fprintf(&up, `
		oifname "veth0" ip saddr %v udp sport %d udp sport set %d ip saddr set %v accept`, homeAddr, port, out.Port(), out.Addr())
	}
	return n.nft(down.String()+`
		iifname "veth0" udp dport 1024-65535 drop`, up.String())
}

// nft replaces the box's rules.
func (n *natBox) nft(down, up string) time.Time {
	n.t.Helper()
	file := fmt.Sprintf("%s/nat.nft", n.t.TempDir())
	text := fmt.Sprintf(`table ip nat_box {}
delete table ip nat_box
table ip nat_box {
	chain down {
		type filter hook prerouting priority -300;%s
	}
	chain up {
		type filter hook postrouting priority 100;%s
	}
}
`, down, up)
	must(n.t, os.WriteFile(file, []byte(text), 0o600))
	n.run(n.box, "nft", "-f", file)
	return time.Now()
}

// relay starts a relay with the kernel path that SRTRELAY_TEST_KERNEL_PATH asks for.
func (n *natLab) relay(args ...string) *relay {
	n.t.Helper()
	r := startRelayIn(n.t, n.Origin, append(args, "--listen="+at(origin4, 0))...)
	n.relays = append(n.relays, r)
	return r
}

// origin starts the real libsrt's server on the backend's host.
func (n *natLab) origin(flags ...string) *origin {
	n.t.Helper()
	return startOriginBy(n.t, []string{need.Tool(n.t, "ip"), "netns", "exec", n.far.Name}, farAddr.String(), flags...)
}

// transmit is liveTransmit on the callers' host.
func (n *natBox) transmit(from, to string) *program {
	n.t.Helper()
	return n.program(n.home, need.Tool(n.t, "stdbuf"), "-i0", "-o0", need.Tool(n.t, "srt-live-transmit"),
		"-a:no", "-chunk:1316", "-buffering:1", from, to)
}

// arrivals notes when data packets pass a device towards an address, by destination ID.
type arrivals struct {
	mu    sync.Mutex
	times map[uint32][]time.Time
	ports map[uint32]map[uint16]int // they came from
	seen  srttest.Notifier          // at every datagram
}

// watch begins to note what passes a device of a namespace, or what all of them receive and
// send if it names none. It ends with the test.
func (k *kernelLab) watch(at *lab.Namespace, device string, to netip.Addr) *arrivals {
	k.t.Helper()
	a := &arrivals{times: map[uint32][]time.Time{}, ports: map[uint32]map[uint16]int{}}
	var file *os.File
	must(k.t, at.Do(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		if err != nil {
			return err
		}
		file = os.NewFile(uintptr(fd), "packets of "+device)
		at := unix.SockaddrLinklayer{Protocol: networkOrder(unix.ETH_P_ALL)}
		if device != "" {
			i, err := net.InterfaceByName(device)
			if err != nil {
				return err
			}
			at.Ifindex = i.Index
		}
		return unix.Bind(fd, &at)
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 128); ; {
			n, err := file.Read(b)
			if err != nil {
				return
			}
			a.note(b[:n], to)
		}
	}()
	k.t.Cleanup(func() {
		_ = file.Close()
		<-done
	})
	return a
}

func networkOrder(n uint16) uint16 {
	return enc.NativeEndian.Uint16(bigEndian.AppendUint16(nil, n))
}

// note notes an IPv4 packet if it holds an SRT data packet to that address.
func (a *arrivals) note(b []byte, to netip.Addr) {
	if len(b) < ipHeader+udpHeader+wire.HeaderSize || b[0] != 0x45 || b[9] != unix.IPPROTO_UDP || netip.AddrFrom4([4]byte(b[16:20])) != to {
		return
	}
	p := wire.Packet(b[ipHeader+udpHeader:])
	if p.IsControl() {
		return
	}
	defer a.seen.Notify()
	a.mu.Lock()
	defer a.mu.Unlock()
	id := p.DestID()
	a.times[id] = append(a.times[id], time.Now())
	if a.ports[id] == nil {
		a.ports[id] = map[uint16]int{}
	}
	a.ports[id][bigEndian.Uint16(b[ipHeader:])]++
}

// gap is the longest time without data of a session around a moment.
func (a *arrivals) gap(id uint32, moment time.Time) (longest time.Duration) {
	const around = 3 * time.Second
	a.mu.Lock()
	defer a.mu.Unlock()
	times := a.times[id]
	for i := range times[:max(len(times)-1, 0)] {
		if times[i+1].After(moment) && times[i].Before(moment.Add(around)) {
			longest = max(longest, times[i+1].Sub(times[i]))
		}
	}
	return longest
}

// awaitMore waits for n more datagrams of every one of these sessions.
func (a *arrivals) awaitMore(t *testing.T, n int, ids ...uint32) {
	t.Helper()
	count := func(id uint32) int {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.times[id])
	}
	before := map[uint32]int{}
	for _, id := range ids {
		before[id] = count(id)
	}
	if err := a.seen.Await(patiently(t), func() bool {
		return !slices.ContainsFunc(ids, func(id uint32) bool { return count(id) < before[id]+n })
	}); err != nil {
		t.Fatalf("no %d more datagrams of each of %v", n, ids)
	}
}
