//go:build linux

package e2e

import (
	"net/netip"
	"testing"

	"srtrelay/bench/lab"
	"srtrelay/internal/srttest"
)

// reach is a place for a backend, as the relay sees it.
type reach struct {
	name   string
	at     *lab.Namespace
	v4, v6 string
	any    bool // its socket is bound to all addresses
}

// The kernel relays every datagram of a session, both ways and unchanged, wherever the
// backend is: on this host, behind a veth pair, a bridge or a gateway, and on the
// device that the callers are on. Both sides see the addresses that they would without it.
func TestKernelPathReachesBackends(t *testing.T) {
	t.Parallel()
	k := openKernelLab(t)
	veth := k.behind(k.Origin, "veth", 78)
	bridged := k.bridged("bridged", 79)
	remote := k.behindCallers("remote", 80)
	places := []reach{
		{name: "loopback", at: k.Origin, v4: "127.0.0.1", v6: "::1"},
		{name: "host", at: k.Origin, v4: origin4.String(), v6: origin6.String()},
		{name: "any", at: k.Origin, v4: origin4.String(), v6: origin6.String(), any: true},
		{name: "veth", at: veth, v4: "10.78.0.2", v6: "fd78::2"},
		{name: "bridge", at: bridged, v4: "10.79.0.2", v6: "fd79::2"},
		{name: "callers' device", at: k.Callers, v4: callers4.String(), v6: callers6.String()},
		{name: "gateway", at: remote, v4: "10.80.0.2", v6: "fd80::2"},
	}
	t.Run("IPv4", func(t *testing.T) {
		k.reaches(t, places, callers4, netip.IPv4Unspecified(), func(p reach) string { return p.v4 })
	})
	t.Run("IPv6", func(t *testing.T) {
		k.reaches(t, places, callers6, netip.IPv6Unspecified(), func(p reach) string { return p.v6 })
	})
}

// reaches relays numbered datagrams from a caller to all places, each of which has one
// session.
func (k *kernelLab) reaches(t *testing.T, places []reach, caller, unspecified netip.Addr, address func(reach) string) {
	k = &kernelLab{k.Lab, t}
	var seen payloads
	var backends []*srttest.Listener
	var args []string
	for _, p := range places {
		ip := netip.MustParseAddr(address(p))
		bound := ip
		if p.any {
			bound = unspecified
		}
		l := k.backend(p.at, bound, &seen)
		backends = append(backends, l)
		args = append(args, "--backend=srt://"+at(ip, l.Addr().Port()))
	}
	r := k.relay(args...)
	port := k.port(caller)
	var flows []*numberedFlow
	for range places { // one after the other, so that each is given to a backend that has none
		flows = append(flows, dialFlows(t, port, r, 1, 500)...)
	}
	runAll(flows)
	awaitInKernel(r, flows)
	stopAll(flows)
	before := r.settled(sent(flows))
	runAll(flows)
	awaitSent(flows, 300)
	stopAll(flows)
	checkAll(flows, backends...)
	for i, l := range backends {
		if st := l.Stats(); l.Live() != 1 || st.Unknown != 0 {
			t.Errorf("%s: %d sessions, %d datagrams of nobody", places[i].name, l.Live(), st.Unknown)
		}
	}
	if bad := seen.bad.Load(); bad != 0 {
		t.Errorf("%d payloads came changed to the backends", bad)
	}
	if st := port.Stats(); st.Foreign+st.Unknown+st.Short != 0 {
		t.Errorf("the caller got datagrams of nobody: %+v", st)
	}
	after := r.settled(sent(flows))
	for _, way := range []string{"to_backend", "to_caller"} {
		passed, all := after["kernel_path_"+way]-before["kernel_path_"+way], after["forwarded_"+way]-before["forwarded_"+way]
		if passed != all || passed == 0 {
			t.Errorf("%s: %d of %d datagrams passed in the kernel", way, passed, all)
		}
	}
}

// settled returns the counters when so many datagrams of each way are counted: what
// passes in the kernel is added up once a second.
func (r *relay) settled(packets uint64) stats {
	r.t.Helper()
	return counted(r, "all datagrams counted", func(st stats) bool {
		return st["forwarded_to_backend"] >= packets && st["forwarded_to_caller"] >= packets
	})
}

// bridged adds a namespace behind a bridge of the relay's.
func (k *kernelLab) bridged(role string, net int) *lab.Namespace {
	k.t.Helper()
	n := k.behind(k.Origin, role, net)
	k.ip(k.Origin, "link add br0 type bridge")
	k.ip(k.Origin, "link set br0 addrgenmode none")
	k.ip(k.Origin, "addr flush dev", role)
	k.ip(k.Origin, "link set", role, "master br0")
	k.address(k.Origin, "br0", net, 1)
	k.ip(k.Origin, "link set br0 up")
	return n
}

// behindCallers adds a namespace that the relay reaches through the callers' one.
func (k *kernelLab) behindCallers(role string, net int) *lab.Namespace {
	k.t.Helper()
	n := k.behind(k.Callers, role, net)
	must(k.t, k.Callers.SetSysctl("net.ipv4.ip_forward", "1"))
	must(k.t, k.Callers.SetSysctl("net.ipv6.conf.all.forwarding", "1"))
	for _, family := range []struct{ target, via, gateway string }{
		{"10.80.0.0/24", callers4.String(), "10.80.0.1"}, {"fd80::/64", callers6.String(), "fd80::1"},
	} {
		k.ip(k.Origin, "route add", family.target, "via", family.via)
		k.ip(n, "route add default via", family.gateway)
	}
	return n
}
