//go:build linux

package e2e

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// A link behind the first router carries no more than IPv6 must. The router says so, and from then
// on the relay's host cuts what is longer. The kernel path cuts nothing: what is too long goes up.
func TestKernelPathSmallLinkOnTheWay(t *testing.T) {
	t.Parallel()
	f := &kernelFlows{kernelLab: openKernelLab(t)}
	router := f.behind(f.Origin, "router", 78)
	far := f.behind(router, "far", 80)
	must(t, router.SetSysctl("net.ipv6.conf.all.forwarding", "1"))
	f.ip(f.Origin, "route add fd80::/64 via fd78::2")
	f.ip(far, "route add default via fd80::1")
	f.ip(router, "link set far mtu 1280")
	f.ip(far, "link set veth0 mtu 1280")
	f.l = f.backend(far, netip.MustParseAddr("fd80::2"), &f.seen)
	f.r = f.relay(backendAt(f.l.Addr()))
	f.flows = dialFlows(t, f.port(callers6), f.r, 1, 500)
	one := f.flows[0]
	one.longest = shortData
	one.run()
	awaitInKernel(f.r, f.flows)
	one.stop()
	var memory payloadMemory
	const long = 1316
	echoed := func(n uint64, within time.Duration) bool {
		ctx, cancel := context.WithTimeout(patiently(t), within)
		defer cancel()
		want := one.s.Counters().Received + 1
		must(t, one.s.SendData(memory.fill(n<<16|long, long)))
		return one.s.Await(ctx, func() bool { return one.s.Counters().Received >= want }) == nil
	}
	n, deadline := one.sent, time.Now().Add(patience)
	for ; !echoed(n, 100*time.Millisecond); n++ {
		if time.Now().After(deadline) {
			t.Fatalf("no datagram of %d bytes arrives behind a link of 1280", long)
		}
	}
	for range 100 {
		if n++; !echoed(n, patience) {
			t.Fatal("a long datagram is lost after others have arrived")
		}
	}
}
