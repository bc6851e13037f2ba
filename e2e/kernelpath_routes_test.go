//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/internal/srttest"
)

// kernelFlows is flows through the kernel path of one relay to one backend.
type kernelFlows struct {
	*kernelLab
	r     *relay
	l     *srttest.Listener
	flows []*numberedFlow
	seen  payloads
}

// start starts flows to a backend, and awaits that they are in the kernel.
func (f *kernelFlows) start(n int, args ...string) {
	f.t.Helper()
	f.r = f.relay(append([]string{backendAt(f.l.Addr())}, args...)...)
	f.flows = dialFlows(f.t, f.port(callers4), f.r, n, 2000)
	runAll(f.flows)
	awaitInKernel(f.r, f.flows)
}

// awaitReturn waits until both ways of all running flows are relayed in the kernel by
// what begins now.
func (f *kernelFlows) awaitReturn(what string) {
	f.t.Helper()
	before := f.r.stats()
	n := uint64(len(f.flows))
	f.r.await(what, func(st stats) bool {
		return st["kernel_path_sessions"] == n &&
			st["kernel_path_to_backend"] >= before["kernel_path_to_backend"]+50*n &&
			st["kernel_path_to_caller"] >= before["kernel_path_to_caller"]+50*n
	})
}

// finish stops the flows and fails the test unless no datagram was lost or overtaken and
// no session ended.
func (f *kernelFlows) finish() {
	f.t.Helper()
	stopAll(f.flows)
	checkAll(f.flows, f.l)
	if bad := f.seen.bad.Load(); bad != 0 {
		f.t.Errorf("%d payloads came changed to the backend", bad)
	}
	if ended := f.r.log("session ended"); len(ended) != 0 {
		f.t.Errorf("%d sessions ended, such as %v", len(ended), ended[0])
	}
}

// logged waits for a line of the kernel path.
func (r *relay) logged(what string) {
	r.t.Helper()
	r.awaitLog("kernel path: "+what, func(logLine) bool { return true })
}

// The route to a backend moves to another device and back, under flows.
func TestKernelPathRouteMoves(t *testing.T) {
	t.Parallel()
	const far, source = "10.90.0.1", "10.91.0.1"
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	n := f.behind(f.Origin, "first", 78)
	f.link(f.Origin, n, "second", "veth1", 79)
	f.ip(n, "addr add", far+"/32 dev lo")
	f.ip(f.Origin, "addr add", source+"/32 dev lo")
	f.ip(n, "route add", source, "via 10.78.0.1")
	for _, at := range []string{"all", "default"} {
		must(t, n.SetSysctl("net.ipv4.conf."+at+".rp_filter", "0"))
	}
	move := func(via string) { f.ip(f.Origin, "route replace", far, "via", via, "src", source) }
	move("10.78.0.2")
	f.l = f.backend(n, netip.MustParseAddr(far), &f.seen)
	f.start(4)
	for _, via := range []string{"10.79.0.2", "10.78.0.2"} {
		before := f.received(n)
		move(via)
		f.awaitReturn("flows by " + via)
		awaitSent(f.flows, 50)
		after := f.received(n)
		if device := map[string]string{"10.78.0.2": "veth0", "10.79.0.2": "veth1"}[via]; after[device] < before[device]+100 {
			t.Errorf("to %s by %s: %v frames before, %v after", far, via, before, after)
		}
	}
	f.finish()
}

// An address of the device that the callers are on is taken away, under flows to its
// other one.
func TestKernelPathAddressRemoved(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	f.ip(f.Origin, "addr add 10.77.0.3/24 dev veth0")
	f.l = f.backend(f.Origin, loopback.Addr(), &f.seen)
	f.start(4, "--listen=10.77.0.3:0")
	f.ip(f.Origin, "addr del 10.77.0.3/24 dev veth0")
	f.awaitReturn("flows without the address")
	f.finish()
}

// The device to a backend is removed and comes again, with another index: sessions that
// had nothing under way go on in the kernel.
func TestKernelPathDeviceRemovedAndAdded(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	n := f.behind(f.Origin, "veth", 78)
	f.l = f.backend(n, netip.MustParseAddr("10.78.0.2"), &f.seen)
	f.start(4)
	stopAll(f.flows)
	f.ip(f.Origin, "link del veth")
	f.r.logged("detached from veth")
	f.link(f.Origin, n, "veth", "veth0", 78)
	f.r.logged("attached to veth")
	runAll(f.flows)
	f.awaitReturn("flows by the new device")
	f.finish()
}

// The callers' device goes down and up again. The program stays attached.
func TestKernelPathDeviceDownAndUp(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	f.l = f.backend(f.Origin, loopback.Addr(), &f.seen)
	f.start(4)
	stopAll(f.flows)
	f.ip(f.Origin, "link set veth0 down")
	f.r.await("sessions without a route in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
	f.ip(f.Origin, "link set veth0 up")
	f.awaitUp(f.Origin, "veth0")
	f.awaitUp(f.Callers, "veth0")
	runAll(f.flows)
	f.awaitReturn("flows by the device that is up again")
	f.finish()
}

// received reads how many frames have come by each device of a namespace.
func (k *kernelLab) received(n *lab.Namespace) map[string]uint64 {
	k.t.Helper()
	var text []byte
	must(k.t, n.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}))
	frames := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		if device, counts, ok := strings.Cut(line, ":"); ok {
			var bytes, packets uint64
			_, err := fmt.Sscan(counts, &bytes, &packets)
			must(k.t, err)
			frames[strings.TrimSpace(device)] = packets
		}
	}
	return frames
}

// The relay's host gets another address, which is the one that it would use towards the backend
// from then on. The backend knows running sessions by the one before.
func TestKernelPathAddressAdded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		caller  netip.Addr
		backend string
		change  string
	}{
		"IPv6": {callers6, "fd78::2", "addr add fd78::9/64 dev veth nodad"},
		"IPv4": {callers4, "10.78.0.2", "route replace 10.78.0.0/24 dev veth src 10.77.0.2"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &kernelFlows{kernelLab: openKernelLab(t)}
			n := f.behind(f.Origin, "veth", 78)
			f.ip(n, "route add 10.77.0.0/24 via 10.78.0.1")
			f.l = f.backend(n, netip.MustParseAddr(c.backend), &f.seen)
			f.r = f.relay(backendAt(f.l.Addr()))
			f.flows = dialFlows(t, f.port(c.caller), f.r, 4, 2000)
			runAll(f.flows)
			awaitInKernel(f.r, f.flows)
			f.ip(f.Origin, c.change)
			awaitSent(f.flows, 1000)
		})
	}
}
