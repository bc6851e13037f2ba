package backend

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// AddStatic adds the backends of the configuration, each a host:port, as down: they
// get streams once they have answered a probe. A backend whose host is a name has
// no address until ResolveNames has looked it up. An error means a wrong
// configuration: no host:port, or an address that no backend can have.
func (r *Registry) AddStatic(hosts []string, now time.Time) error {
	for _, host := range hosts {
		e, err := parseEndpoint(host)
		if err != nil {
			return fmt.Errorf("backend %q: %w", host, err)
		}
		b := Backend{ID: ID(host), Source: SourceStatic, Host: host, Down: true, Weight: 1, Added: now, Problem: notLookedUp}
		if e.ip.IsValid() {
			b.Addr, b.Problem = e.at(e.ip), ""
		}
		if err := r.Put(b); err != nil {
			return fmt.Errorf("backend %q: %w", host, err)
		}
	}
	return nil
}

// endpoint is a host:port of the configuration.
type endpoint struct {
	name string     // "" for an address
	ip   netip.Addr // invalid for a name
	port uint16
}

func parseEndpoint(hostport string) (endpoint, error) {
	host, portText, err := net.SplitHostPort(hostport)
	if err != nil {
		return endpoint{}, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return endpoint{}, fmt.Errorf("bad port %q", portText)
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return endpoint{ip: ip, port: uint16(port)}, nil
	}
	return endpoint{name: host, port: uint16(port)}, nil
}

// at is the endpoint where the name resolves to ip.
func (e endpoint) at(ip netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(numericZone(ip.Unmap()), e.port)
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
