package kernelpath

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// addRoute adds a route in the namespace.
func (n *namespace) addRoute(t testing.TB, r *netlink.Route) {
	t.Helper()
	n.do(t, func() error {
		if err := netlink.RouteAdd(r); err != nil {
			return fmt.Errorf("add %s: %w", r, err)
		}
		return nil
	})
}

func ip(s string) addr.IP { return addr.FromIP(netip.MustParseAddr(s)) }

// newRoutes returns a namespace with routes of all kinds.
func newRoutes(t *testing.T) *namespace {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24", "2001:db8::1/64")
	n.addDevice(t, &netlink.Tuntap{LinkAttrs: named("tunnel"), Mode: netlink.TUNTAP_MODE_TUN}, "10.8.0.1/24")
	n.do(t, func() error {
		peer, err := netlink.LinkByName("eth-peer")
		return errors.Join(err, netlink.LinkSetUp(peer)) // the route is usable only then
	})
	eth := n.index(t, "eth")
	for _, one := range []netlink.Route{
		{Dst: ipNet("198.51.100.0/24"), Gw: net.ParseIP("192.0.2.254")},
		{Dst: ipNet("203.0.113.0/24"), Gw: net.ParseIP("192.0.2.253"), MTU: 1200},
		{Dst: ipNet("203.0.113.128/25"), LinkIndex: eth, MTU: 9000},
		{Dst: ipNet("10.1.0.0/16"), Type: unix.RTN_BLACKHOLE},
		{Dst: ipNet("10.2.0.0/16"), Type: unix.RTN_UNREACHABLE},
		{Dst: ipNet("10.3.0.0/16"), Type: unix.RTN_PROHIBIT},
		{Dst: ipNet("10.4.0.0/16"), Via: &netlink.Via{AddrFamily: unix.AF_INET6, Addr: net.ParseIP("2001:db8::fe")}, LinkIndex: eth},
		{Dst: ipNet("2001:db8:1::/48"), Gw: net.ParseIP("2001:db8::fe")},
		{Dst: ipNet("2001:db8:2::/48"), Type: unix.RTN_BLACKHOLE},
	} {
		n.addRoute(t, &one)
	}
	return n
}

func TestRoutes(t *testing.T) {
	n := newRoutes(t)
	p := n.open(t)
	s := p.Shard(0)
	eth := uint32(n.index(t, "eth"))
	near := func(next string, mtu uint16) hop {
		return hop{action: pathActionTO_DEVICE, flags: virtualDevice, mtu: mtu, device: eth, next: ip(next)}
	}
	local := func(next string) hop {
		return hop{action: pathActionTO_LOOPBACK, mtu: math.MaxUint16, device: loopback, next: ip(next)}
	}
	own := local("192.0.2.1")
	own.flags = lendsAddress
	for name, c := range map[string]struct {
		to, from string
		hop      hop
		source   string
		err      string
	}{
		"loopback":          {to: "127.0.0.1", hop: local("127.0.0.1"), source: "127.0.0.1"},
		"loopback, other":   {to: "127.8.8.8", hop: local("127.8.8.8"), source: "127.0.0.1"},
		"own address":       {to: "192.0.2.1", hop: own, source: "192.0.2.1"},
		"neighbour":         {to: "192.0.2.7", hop: near("192.0.2.7", 1500), source: "192.0.2.1"},
		"gateway":           {to: "198.51.100.9", hop: near("192.0.2.254", 1500), source: "192.0.2.1"},
		"MTU of the route":  {to: "203.0.113.9", hop: near("192.0.2.253", 1200), source: "192.0.2.1"},
		"MTU of the device": {to: "203.0.113.200", hop: near("203.0.113.200", 1500), source: "192.0.2.1"},
		"from a local end":  {to: "192.0.2.7", from: "192.0.2.1", hop: near("192.0.2.7", 1500), source: "192.0.2.1"},
		"IPv6 loopback":     {to: "::1", hop: local("::1"), source: "::1"},
		"IPv6 own address":  {to: "2001:db8::1", hop: local("2001:db8::1"), source: "2001:db8::1"},
		"IPv6 neighbour":    {to: "2001:db8::7", hop: near("2001:db8::7", 1500), source: "2001:db8::1"},
		"IPv6 gateway":      {to: "2001:db8:1::7", hop: near("2001:db8::fe", 1500), source: "2001:db8::1"},
		"no route":          {to: "10.99.0.1", err: "no route for the kernel path to 10.99.0.1: network is unreachable"},
		"blackhole":         {to: "10.1.0.1", err: "no route for the kernel path to 10.1.0.1: the route is a blackhole (invalid argument)"},
		"unreachable":       {to: "10.2.0.1", err: "no route for the kernel path to 10.2.0.1: no route to host"},
		"prohibit":          {to: "10.3.0.1", err: "no route for the kernel path to 10.3.0.1: permission denied"},
		"IPv6 blackhole":    {to: "2001:db8:2::1", err: "no route for the kernel path to 2001:db8:2::1: the route is a blackhole (invalid argument)"},
		"foreign local end": {to: "192.0.2.7", from: "10.77.0.1", err: "no route for the kernel path to 192.0.2.7: "},
		"broadcast":         {to: "192.0.2.255", err: "no route for the kernel path to 192.0.2.255: the route is of type 3"},
		"multicast":         {to: "224.1.2.3", from: "192.0.2.1", err: "no route for the kernel path to 224.1.2.3"},
		"no Ethernet":       {to: "10.8.0.7", err: "no route for the kernel path to 10.8.0.7: device tunnel has no Ethernet header"},
		"gateway of IPv6":   {to: "10.4.0.1", err: "no route for the kernel path to 10.4.0.1: the gateway is of another address family"},
	} {
		t.Run(name, func(t *testing.T) {
			from := addr.IP{}
			if c.from != "" {
				from = ip(c.from)
			}
			h, source, err := s.resolve(ip(c.to), from)
			if c.err != "" {
				if !errors.Is(err, ErrNoRoute) || !strings.HasPrefix(err.Error(), c.err) {
					t.Errorf("error %v, want %s", err, c.err)
				}
				return
			}
			if err != nil || h != c.hop || source != ip(c.source) {
				t.Errorf("%+v from %s (%v), want %+v", h, source.Netip(), err, c.hop)
			}
		})
	}
}

// With accept_local a datagram to this host goes on as it is.
func TestRouteWithAcceptLocal(t *testing.T) {
	n := newNamespace(t)
	p := n.open(t, func(c *Config) { c.AcceptLocal = true })
	h, _, err := p.Shard(0).resolve(ip("127.0.0.1"), addr.IP{})
	if err != nil || h.action != pathActionTO_LOCAL {
		t.Errorf("%+v, %v", h, err)
	}
}

// The same link-local address may be on every link, and the program's keys have no scope.
func TestRouteOfLinkLocal(t *testing.T) {
	n := newNamespace(t)
	p := n.open(t)
	n.addDevice(t, pair("eth"), "fe80::77/64")
	n.change(t, "eth-peer", netlink.LinkSetUp)
	for _, to := range []addr.IP{ip("fe80::1").Scoped(2), endpoint("[fe80::1%2]:1").IP} {
		_, _, err := p.Shard(0).resolve(to, addr.IP{})
		if !errors.Is(err, ErrNoRoute) || err.Error() != "no route for the kernel path: fe80::1 is link-local" {
			t.Error(err)
		}
	}
}

// Routes are asked for once per epoch.
func TestRoutesAreRemembered(t *testing.T) {
	n := newRoutes(t)
	p := n.open(t)
	s := p.Shard(0)
	want := func(next string) {
		t.Helper()
		if h, _, err := s.resolve(ip("198.51.100.9"), addr.IP{}); err != nil || h.next != ip(next) {
			t.Errorf("to %s (%v), want %s", h.next.Netip(), err, next)
		}
	}
	want("192.0.2.254")
	n.do(t, func() error {
		return netlink.RouteReplace(&netlink.Route{Dst: ipNet("198.51.100.0/24"), Gw: net.ParseIP("192.0.2.252")})
	})
	want("192.0.2.254")
	p.epoch.Add(1)
	want("192.0.2.252")
}

// enterFor enters a session between addresses, and returns its error.
func enterFor(s *Shard, e *Session) error {
	e.Gen++
	s.Reset(e.Place, e.Gen)
	return s.Enter(e)
}

func TestEnter(t *testing.T) {
	n := newRoutes(t)
	s := n.open(t).Shard(0)
	e := Session{
		Caller: endpoint("198.51.100.9:40000"), Front: endpoint("192.0.2.1:20080"),
		Upstream: addr.AddrPort{Port: 30000}, Backend: endpoint("127.0.0.1:10080"),
		CallerID: callerID, BackendID: backendID,
	}
	modes := func() [2]Mode { return [2]Mode{s.Way(e.Place, 0).Mode(), s.Way(e.Place, 1).Mode()} }
	entries := func() (n int) {
		var key pathKey4
		var value pathHop4
		for all := s.path.objects.Sessions4.Iterate(); all.Next(&key, &value); {
			n++
		}
		return n
	}
	if err := enterFor(s, &e); err != nil || modes() != [2]Mode{Pending, Pending} || entries() != 2 {
		t.Errorf("entered: %v, modes %v, %d entries", err, modes(), entries())
	}
	if e.Upstream != endpoint("127.0.0.1:30000") {
		t.Errorf("upstream %s", e.Upstream)
	}
	s.Leave(&e)
	if modes() != [2]Mode{Off, Off} || entries() != 0 {
		t.Errorf("left: modes %v, %d entries", modes(), entries())
	}
	for name, c := range map[string]struct {
		backend string
		want    error
	}{
		"families": {"[::1]:10080", ErrFamilies}, "no route": {"10.99.0.1:10080", ErrNoRoute},
	} {
		bad := e
		bad.Backend = endpoint(c.backend)
		if err := enterFor(s, &bad); !errors.Is(err, c.want) || modes() != [2]Mode{Off, Off} || entries() != 0 {
			t.Errorf("%s: %v, modes %v, %d entries", name, err, modes(), entries())
		}
	}
}

// Full tables are an error, which leaves nothing behind.
func TestEnterFull(t *testing.T) {
	n := newRoutes(t)
	s := n.open(t, func(c *Config) { c.Places = 2 }).Shard(0)
	for place := range uint32(3) {
		e := session4()
		e.Front, e.Place, e.BackendID, e.CallerID = endpoint("192.0.2.1:20080"), min(place, 1), place+1, place+1
		e.Caller = endpoint("198.51.100.9:40000")
		err := enterFor(s, &e)
		if want := map[bool]error{true: ErrFull}[place == 2]; !errors.Is(err, want) {
			t.Errorf("session %d: %v, want %v", place, err, want)
		}
	}
}

// A session whose routes have changed goes on, also if the relay's address towards the
// backend is another one.
func TestUpdate(t *testing.T) {
	n := newRoutes(t)
	p := n.open(t)
	s := p.Shard(0)
	e := Session{
		Caller: endpoint("198.51.100.9:40000"), Front: endpoint("192.0.2.1:20080"),
		Upstream: addr.AddrPort{Port: 30000}, Backend: endpoint("203.0.113.9:10080"),
		CallerID: callerID, BackendID: backendID,
	}
	if err := enterFor(s, &e); err != nil {
		t.Fatal(err)
	}
	update := func(source string, modes [2]Mode) {
		t.Helper()
		p.epoch.Add(1)
		if err := s.Update(&e); err != nil || e.Upstream.IP != ip(source) {
			t.Errorf("upstream %s, %v", e.Upstream, err)
		}
		if got := [2]Mode{s.Way(0, 0).Mode(), s.Way(0, 1).Mode()}; got != modes {
			t.Errorf("modes %v, want %v", got, modes)
		}
		for _, f := range s.flows(&e, hop{}, hop{}) {
			if err := f.table.Lookup(f.key, f.value); err != nil {
				t.Errorf("no entry: %v", err)
			}
		}
	}
	s.Way(0, 0).setOn()
	update("192.0.2.1", [2]Mode{On, Pending})
	n.addDevice(t, pair("other"), "10.9.0.1/24")
	n.do(t, func() error {
		peer, err := netlink.LinkByName("other-peer")
		return errors.Join(err, netlink.LinkSetUp(peer), netlink.RouteReplace(&netlink.Route{
			Dst: ipNet("203.0.113.0/24"), Gw: net.ParseIP("10.9.0.254"),
		}))
	})
	p.refreshHooks()
	update("192.0.2.1", [2]Mode{On, Pending}) // the backend knows the session by this address
	if !e.Pinned {
		t.Error("the host would not use another address")
	}
	s.Leave(&e)
	e.Upstream.IP = ip("192.0.2.99") // which the host has no longer
	update("10.9.0.1", [2]Mode{Pending, Pending})
	n.do(t, func() error { return netlink.RouteDel(&netlink.Route{Dst: ipNet("203.0.113.0/24")}) })
	p.epoch.Add(1)
	if err := s.Update(&e); !errors.Is(err, ErrNoRoute) || s.Way(0, 0).Mode() != Off {
		t.Errorf("without a route: %v, mode %v", err, s.Way(0, 0).Mode())
	}
}
