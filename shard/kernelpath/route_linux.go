package kernelpath

import (
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// hop is where the datagrams for an address leave.
type hop struct {
	action pathAction
	flags  uint8
	mtu    uint16
	device uint32
	next   addr.IP // the gateway, or the address itself
}

// Flags of a hop: HOP_SOFT and HOP_LEND of the program.
const (
	virtualDevice = 1
	lendsAddress  = 4
)

// routeKey is what a route is asked for.
type routeKey struct{ to, from addr.IP }

// routed is the answer; source is the relay's address of datagrams to there.
type routed struct {
	hop    hop
	source addr.IP
	err    error
	paths  uint32 // Path.paths before it was asked
}

// routeCache has the routes that a shard has asked for since they last changed.
type routeCache struct {
	handle *netlink.Handle
	epoch  uint32
	routes map[routeKey]routed
}

const (
	// routesMost is how many routes a shard remembers; beyond it begins anew.
	routesMost = 1 << 16
	// routeTimeout is how long the kernel may take for an answer, which it gives without
	// waiting for anything (RTM_GETROUTE, without the rtnl lock since Linux 4.13).
	routeTimeout = 100 * time.Millisecond
)

// resolve returns where datagrams to an address leave, and the relay's address that they
// bear. from is that address if it is given already, zero otherwise.
func (s *Shard) resolve(to, from addr.IP) (hop, addr.IP, error) {
	c := &s.cache
	if epoch := s.path.epoch.Load(); c.routes == nil || epoch != c.epoch || len(c.routes) >= routesMost {
		c.epoch, c.routes = epoch, make(map[routeKey]routed)
	}
	key := routeKey{to, from}
	r, known := c.routes[key]
	paths := s.path.paths.Load()
	if !known || r.paths != paths && !to.Is4() {
		r.paths = paths
		r.hop, r.source, r.err = s.askRoute(to, from)
		c.routes[key] = r
	}
	return r.hop, r.source, r.err
}

// askRoute asks the kernel.
func (s *Shard) askRoute(to, from addr.IP) (h hop, source addr.IP, err error) {
	options := &netlink.RouteGetOptions{}
	if from != (addr.IP{}) {
		options.SrcAddr = net.IP(from.Netip().AsSlice())
	}
	if to, _ := to.Unscoped(); !to.Is4() && to.Netip().IsLinkLocalUnicast() {
		// The same address may be on every link, and the program's keys have no scope.
		return hop{}, addr.IP{}, fmt.Errorf("%w: %s is link-local", ErrNoRoute, to.Netip())
	}
	found, err := s.cache.handle.RouteGetWithOptions(net.IP(to.Netip().AsSlice()), options)
	if errors.Is(err, unix.EINVAL) {
		return hop{}, addr.IP{}, fmt.Errorf("%w to %s: the route is a blackhole (%w)", ErrNoRoute, to.Netip(), err)
	}
	if err != nil {
		return hop{}, addr.IP{}, fmt.Errorf("%w to %s: %w", ErrNoRoute, to.Netip(), err)
	}
	if len(found) != 1 {
		return hop{}, addr.IP{}, fmt.Errorf("%w to %s: %d routes", ErrNoRoute, to.Netip(), len(found))
	}
	if source = from; source == (addr.IP{}) {
		if found[0].Src == nil {
			return hop{}, addr.IP{}, fmt.Errorf("%w to %s: no source address", ErrNoRoute, to.Netip())
		}
		source = addr.IP(found[0].Src.To16())
	}
	if found[0].Type == unix.RTN_UNICAST && s.path.ipsec.applies(source, to) {
		return hop{}, addr.IP{}, fmt.Errorf("%w to %s: an IPsec policy applies", ErrNoRoute, to.Netip())
	}
	h, err = s.path.hopOf(&found[0], to)
	return h, source, err
}

// hopOf returns the hop of a route.
func (p *Path) hopOf(r *netlink.Route, to addr.IP) (hop, error) {
	switch r.Type {
	case unix.RTN_LOCAL:
		h := hop{action: pathActionTO_LOOPBACK, mtu: math.MaxUint16, device: loopback, next: to}
		if p.cfg.AcceptLocal {
			h.action = pathActionTO_LOCAL
		} else if to.Is4() && !to.Netip().IsLoopback() {
			h.flags = lendsAddress
		}
		return h, nil
	case unix.RTN_UNICAST:
	default:
		return hop{}, fmt.Errorf("%w to %s: the route is of type %d", ErrNoRoute, to.Netip(), r.Type)
	}
	d, known := (*p.hooks.devices.Load())[r.LinkIndex]
	if !known {
		return hop{}, fmt.Errorf("%w to %s: device %d is new", ErrNoRoute, to.Netip(), r.LinkIndex)
	}
	if !d.ethernet {
		return hop{}, fmt.Errorf("%w to %s: device %s has no Ethernet header", ErrNoRoute, to.Netip(), d.name)
	}
	if r.Encap != nil {
		return hop{}, fmt.Errorf("%w to %s: the route encapsulates", ErrNoRoute, to.Netip())
	}
	h := hop{action: pathActionTO_DEVICE, device: uint32(r.LinkIndex), next: to}
	if r.Gw != nil {
		h.next = addr.IP(r.Gw.To16())
	} else if r.Via != nil {
		return hop{}, fmt.Errorf("%w to %s: the gateway is of another address family", ErrNoRoute, to.Netip())
	}
	if d.virtual {
		h.flags = virtualDevice
	}
	mtu := d.mtu
	if r.MTU > 0 {
		mtu = min(mtu, r.MTU)
	}
	h.mtu = uint16(min(mtu, math.MaxUint16))
	return h, nil
}

func (c *routeCache) open() (err error) {
	if c.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	_ = c.handle.SetSocketTimeout(routeTimeout) // cannot fail
	return nil
}

func (c *routeCache) close() {
	if c.handle != nil {
		c.handle.Close()
	}
}
