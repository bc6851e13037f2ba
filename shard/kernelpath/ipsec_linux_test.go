package kernelpath

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"

	"srtrelay/addr"
)

// esp is what an IPsec policy usually demands.
func esp() []netlink.XfrmPolicyTmpl {
	return []netlink.XfrmPolicyTmpl{{Proto: netlink.XFRM_PROTO_ESP, Mode: netlink.XFRM_MODE_TRANSPORT}}
}

// Datagrams that an IPsec policy is about stay in user space: a redirect passes it by.
func TestIPsecPolicies(t *testing.T) {
	const block = netlink.XFRM_POLICY_BLOCK
	for name, c := range map[string]struct {
		policies []netlink.XfrmPolicy
		to       string
		applies  bool
	}{
		"none":        {nil, "198.51.100.9", false},
		"out":         {[]netlink.XfrmPolicy{{Dst: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_OUT, Tmpls: esp()}}, "198.51.100.9", true},
		"in":          {[]netlink.XfrmPolicy{{Src: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_IN, Tmpls: esp()}}, "198.51.100.9", true},
		"forward":     {[]netlink.XfrmPolicy{{Dst: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_FWD, Tmpls: esp()}}, "198.51.100.9", false},
		"blocks":      {[]netlink.XfrmPolicy{{Dst: ipNet("198.51.100.9/32"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", true},
		"other peer":  {[]netlink.XfrmPolicy{{Dst: ipNet("203.0.113.0/24"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", false},
		"other end":   {[]netlink.XfrmPolicy{{Src: ipNet("10.0.0.0/8"), Dst: ipNet("0.0.0.0/0"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", false},
		"own end":     {[]netlink.XfrmPolicy{{Src: ipNet("192.0.2.0/24"), Dst: ipNet("0.0.0.0/0"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", true},
		"TCP":         {[]netlink.XfrmPolicy{{Dst: ipNet("198.51.100.0/24"), Proto: 6, Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", false},
		"UDP":         {[]netlink.XfrmPolicy{{Dst: ipNet("198.51.100.0/24"), Proto: 17, DstPort: 10080, Dir: netlink.XFRM_DIR_OUT, Tmpls: esp()}}, "198.51.100.9", true},
		"this host":   {[]netlink.XfrmPolicy{{Dst: ipNet("0.0.0.0/0"), Dir: netlink.XFRM_DIR_OUT, Tmpls: esp()}}, "127.0.0.1", false},
		"all of IPv6": {[]netlink.XfrmPolicy{{Src: ipNet("::/0"), Dst: ipNet("::/0"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "198.51.100.9", false},
		"IPv6":        {[]netlink.XfrmPolicy{{Src: ipNet("::/0"), Dst: ipNet("::/0"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "2001:db8::7", true},
		"IPv6, short": {[]netlink.XfrmPolicy{{Src: ipNet("::/0"), Dst: ipNet("2001:d00::/24"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "2001:db8::7", true},
		"IPv6, /64":   {[]netlink.XfrmPolicy{{Src: ipNet("2001:db8::/64"), Dst: ipNet("2001:db8::/64"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "2001:db8::7", true},
		"IPv6, other": {[]netlink.XfrmPolicy{{Src: ipNet("::/0"), Dst: ipNet("2001:db9:7::/48"), Dir: netlink.XFRM_DIR_OUT, Action: block}}, "2001:db8::7", false},
		"lets pass": {[]netlink.XfrmPolicy{
			{Dst: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_OUT, Tmpls: esp(), Priority: 20},
			{Dst: ipNet("198.51.100.9/32"), Dir: netlink.XFRM_DIR_OUT, Priority: 10},
		}, "198.51.100.9", false},
		"lets pass, behind": {[]netlink.XfrmPolicy{
			{Dst: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_OUT, Tmpls: esp(), Priority: 20},
			{Dst: ipNet("198.51.100.9/32"), Dir: netlink.XFRM_DIR_OUT, Priority: 30},
		}, "198.51.100.9", true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newRoutes(t)
			for _, p := range c.policies {
				n.do(t, func() error { return netlink.XfrmPolicyAdd(&p) })
			}
			_, _, err := n.open(t).Shard(0).resolve(ip(c.to), addr.IP{})
			if c.applies != errors.Is(err, ErrNoRoute) || c.applies && err.Error() != "no route for the kernel path to "+c.to+": an IPsec policy applies" {
				t.Error(err)
			}
		})
	}
}

// A policy that comes later takes sessions out of the path.
func TestFollowIPsecPolicies(t *testing.T) {
	n := newRoutes(t)
	p := n.open(t)
	rerouted := make(chan error, 100)
	stop := follow(t, n, p, func() {
		_, _, err := p.Shard(0).resolve(ip("198.51.100.9"), addr.IP{})
		rerouted <- err
	})
	defer stop()
	one := &netlink.XfrmPolicy{Dst: ipNet("198.51.100.0/24"), Dir: netlink.XFRM_DIR_OUT, Tmpls: esp()}
	wait := func(applies bool) {
		t.Helper()
		for late := time.After(10 * time.Second); ; {
			select {
			case err := <-rerouted:
				if errors.Is(err, ErrNoRoute) == applies {
					return
				}
			case <-late:
				t.Fatal("the change has not been noticed")
			}
		}
	}
	n.do(t, func() error { return netlink.XfrmPolicyAdd(one) })
	wait(true)
	n.do(t, func() error { return netlink.XfrmPolicyDel(one) })
	wait(false)
}

// A route that encapsulates is not for a redirect either.
func TestRouteEncapsulates(t *testing.T) {
	n := newRoutes(t)
	eth := n.index(t, "eth")
	n.addRoute(t, &netlink.Route{
		Dst: ipNet("2001:db8:9::/48"), LinkIndex: eth,
		Encap: &netlink.SEG6Encap{Mode: nl.SEG6_IPTUN_MODE_ENCAP, Segments: []net.IP{net.ParseIP("2001:db8::99")}},
	})
	_, _, err := n.open(t).Shard(0).resolve(ip("2001:db8:9::1"), addr.IP{})
	if !errors.Is(err, ErrNoRoute) {
		t.Error(err)
	}
}
