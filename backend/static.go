package backend

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// Lookup resolves a host name; net.Resolver.LookupNetIP is one.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

// RefreshEvery is how often Follow looks host names up again.
const RefreshEvery = 30 * time.Second

// AddStatic resolves the backends of the configuration, each a host:port, and
// puts them into the registry as down: they take streams from their first
// answer to a probe on. A name that does not resolve is an error.
func (r *Registry) AddStatic(ctx context.Context, hosts []string, lookup Lookup, now time.Time) error {
	for _, host := range hosts {
		all, err := resolve(ctx, host, lookup)
		if err != nil {
			return err
		}
		r.Put(Backend{ID: ID(host), Source: Static, Host: host, Addr: all[0], Down: true, Weight: 1, Added: now})
	}
	return nil
}

// Follow looks the names of static backends up again and again until ctx ends.
// A backend moves only when its address is no longer among its name's; running
// sessions stay where they are. changed is told of each move.
func (r *Registry) Follow(ctx context.Context, lookup Lookup, changed func(Backend)) {
	tick := time.NewTicker(RefreshEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r.refresh(ctx, lookup, changed)
		}
	}
}

func (r *Registry) refresh(ctx context.Context, lookup Lookup, changed func(Backend)) {
	for _, b := range r.Snapshot().Backends {
		if b.Source != Static {
			continue
		}
		all, err := resolve(ctx, b.Host, lookup)
		if err != nil || slices.Contains(all, b.Addr) {
			continue // a name server that is away moves nobody
		}
		b.Addr = all[0]
		r.update(b.ID, func(old *Backend) { old.Addr = b.Addr })
		changed(b)
	}
}

// resolve returns the addresses of host:port, at least one.
func resolve(ctx context.Context, hostport string, lookup Lookup) ([]netip.AddrPort, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", hostport, err)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("backend %q: bad port: %w", hostport, err)
	}
	ips, err := lookup(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", hostport, err)
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("backend %q: %s has no address", hostport, host)
	}
	all := make([]netip.AddrPort, 0, len(ips))
	for _, ip := range ips {
		all = append(all, netip.AddrPortFrom(numericZone(ip.Unmap()), uint16(port)))
	}
	return all, nil
}

// numericZone turns the interface name of a link-local address into its index,
// which is what the kernel and the shards compare.
func numericZone(ip netip.Addr) netip.Addr {
	if ip.Zone() == "" {
		return ip
	}
	iface, err := net.InterfaceByName(ip.Zone())
	if err != nil {
		return ip
	}
	return ip.WithZone(strconv.Itoa(iface.Index))
}
