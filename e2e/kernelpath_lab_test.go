//go:build linux

package e2e

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/config"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/shard/kernelpath"
)

// probeKernelPath says why there is no kernel path here.
func probeKernelPath() error {
	p, err := kernelpath.Open(kernelpath.Config{Shards: 1, Places: 1, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	p.Close()
	return nil
}

// setKernelPath gives every relay for which a test names none the --kernel-path of
// SRTRELAY_TEST_KERNEL_PATH, off if it is unset. Where there is none to require, no test is
// run.
func setKernelPath() (done bool, code int) {
	mode := cmp.Or(os.Getenv("SRTRELAY_TEST_KERNEL_PATH"), config.KernelPathOff)
	os.Setenv("SRTRELAY_KERNEL_PATH", mode)
	if mode != config.KernelPathRequire {
		return false, 0
	}
	err := probeKernelPath()
	if err == nil {
		return false, 0
	}
	fmt.Fprintln(os.Stderr, "no test is run with the kernel path:", err)
	if os.Getenv("SRTRELAY_REQUIRE_ALL") != "" {
		return true, 1
	}
	return true, 0
}

// kernelLab is callers and a relay in network namespaces of their own, so that a
// test may change routes and devices. The relay has 10.77.0.2 and fd77::2, the
// callers 10.77.0.1 and fd77::1.
type kernelLab struct {
	*lab.Lab
	t *testing.T
}

// Addresses of the two namespaces; those of IPv4 are the lab's.
var (
	callers4, origin4 = lab.CallersAddr, lab.OriginAddr
	callers6, origin6 = netip.MustParseAddr("fd77::1"), netip.MustParseAddr("fd77::2")
)

func openKernelLab(t *testing.T) *kernelLab {
	t.Helper()
	if err := probeKernelPath(); err != nil {
		need.Skip(t, err.Error())
	}
	need.Tool(t, "ip")
	l, err := lab.Open()
	must(t, err)
	k := &kernelLab{l, t}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	for n, ip := range map[*lab.Namespace]netip.Addr{l.Callers: callers6, l.Origin: origin6} {
		// A link-local address is news once more when it is found to be unique.
		k.ip(n, "link set veth0 addrgenmode none")
		k.ip(n, "addr flush dev veth0 scope link")
		k.ip(n, "addr add", ip.String()+"/64 dev veth0 nodad")
	}
	return k
}

// run runs a program in a namespace.
func (k *kernelLab) run(at *lab.Namespace, args ...string) {
	k.t.Helper()
	if _, err := at.Run(patiently(k.t), args...); err != nil {
		k.t.Fatal(err)
	}
}

// ip runs the program ip in a namespace, with the words of its arguments.
func (k *kernelLab) ip(at *lab.Namespace, args ...string) {
	k.t.Helper()
	k.run(at, append([]string{"ip"}, strings.Fields(strings.Join(args, " "))...)...)
}

// behind adds a namespace that a namespace reaches by a veth pair. Its address is the
// second one of 10.NET.0.0/24 and fdNET::/64, that of from the first one.
func (k *kernelLab) behind(from *lab.Namespace, role string, net int) *lab.Namespace {
	k.t.Helper()
	n, err := k.Add(role)
	must(k.t, err)
	k.ip(n, "link set lo up")
	k.link(from, n, role, "veth0", net)
	return n
}

// link joins two namespaces by a veth pair with such addresses.
func (k *kernelLab) link(from, to *lab.Namespace, fromDevice, toDevice string, net int) {
	k.t.Helper()
	k.ip(from, "link add", fromDevice, "type veth peer name", toDevice, "netns", to.Name)
	for _, end := range []struct {
		at   *lab.Namespace
		dev  string
		host int
	}{{from, fromDevice, 1}, {to, toDevice, 2}} {
		k.address(end.at, end.dev, net, end.host)
		k.ip(end.at, "link set", end.dev, "addrgenmode none")
		k.ip(end.at, "link set", end.dev, "up")
	}
	k.awaitUp(from, fromDevice)
	k.awaitUp(to, toDevice)
}

// awaitUp waits until a device has a carrier. The kernel gives it one up to a second after its
// peer is up, later the more devices change, and drops until then what it is to send.
func (k *kernelLab) awaitUp(at *lab.Namespace, device string) {
	k.t.Helper()
	var state string
	if !eventually(func() bool {
		var err error
		state, err = at.Run(k.t.Context(), "ip", "-o", "link", "show", "dev", device)
		must(k.t, err)
		return strings.Contains(state, " state UP ")
	}) {
		k.t.Fatalf("device %s has no carrier: %s", device, state)
	}
}

// address gives a device the addresses of a host of net, and one for finding neighbours.
func (k *kernelLab) address(at *lab.Namespace, dev string, net, host int) {
	k.t.Helper()
	k.ip(at, fmt.Sprintf("addr add 10.%d.0.%d/24 dev %s", net, host, dev))
	k.ip(at, fmt.Sprintf("addr add fd%d::%d/64 dev %s nodad", net, host, dev))
	k.ip(at, fmt.Sprintf("addr add fe80::%d/64 dev %s nodad", host, dev))
}

// relay starts a relay that must have the kernel path, with listeners at both of its
// addresses.
func (k *kernelLab) relay(args ...string) *relay {
	k.t.Helper()
	base := []string{"--kernel-path=require", "--listen=" + at(origin4, 0), "--listen=" + at(origin6, 0)}
	return startRelayIn(k.t, k.Origin, append(base, args...)...)
}

func at(ip netip.Addr, port uint16) string { return netip.AddrPortFrom(ip, port).String() }

// backend opens a fake backend in a namespace, that sends every payload back after
// having looked at it.
func (k *kernelLab) backend(n *lab.Namespace, ip netip.Addr, seen *payloads) *srttest.Listener {
	k.t.Helper()
	var l *srttest.Listener
	must(k.t, n.Do(func() (err error) {
		l, err = srttest.NewListener(srttest.ListenerConfig{
			Local: netip.AddrPortFrom(ip, 0), Mode: srttest.Echo,
			Observe: func(_ netip.AddrPort, b []byte) { seen.check(b) },
		})
		return err
	}))
	k.t.Cleanup(func() { _ = l.Close() })
	return l
}

// port opens a caller's port.
func (k *kernelLab) port(ip netip.Addr) *srttest.CallerPort {
	k.t.Helper()
	var p *srttest.CallerPort
	must(k.t, k.Callers.Do(func() (err error) {
		p, err = srttest.NewCallerPort(netip.AddrPortFrom(ip, 0))
		return err
	}))
	k.t.Cleanup(func() { _ = p.Close() })
	return p
}
