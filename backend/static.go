package backend

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// AddStatic adds the backends of the configuration as down: they get streams once they
// have answered a probe. Each is a host:port or srv://NAME. An address is one backend.
// A name is a backend without an address until ResolveNames has looked it up, and then
// one for each of its addresses. An error means a wrong configuration: none of these
// forms, or an address that no backend can have.
func (r *Registry) AddStatic(hosts []string, now time.Time) error {
	for _, host := range hosts {
		b, err := newStatic(host, now)
		if err != nil {
			return fmt.Errorf("backend %q: %w", host, err)
		}
		if err := r.Put(b); err != nil {
			return fmt.Errorf("backend %q: %w", host, err)
		}
		if !b.Addr.IsValid() {
			r.addName(host)
		}
	}
	return nil
}

// newStatic returns the backend of an address, or the one that stands for a name until
// it has been looked up.
func newStatic(host string, now time.Time) (Backend, error) {
	e, err := parseEndpoint(host)
	if err != nil {
		return Backend{}, err
	}
	b := Backend{ID: ID(host), Source: SourceStatic, Host: host, Down: true, Weight: 1, Added: now, Problem: notLookedUp}
	if e.ip.IsValid() {
		b.Addr, b.Problem = e.at(e.ip), ""
	}
	return b, nil
}

// srvScheme stands before a name whose SRV records name the backends.
const srvScheme = "srv://"

// endpoint is a host:port of the configuration, or a name with SRV records.
type endpoint struct {
	name string     // "" for an address
	ip   netip.Addr // invalid for a name
	port uint16     // 0 for a name with SRV records
}

func parseEndpoint(text string) (endpoint, error) {
	if name, ok := strings.CutPrefix(text, srvScheme); ok {
		if name == "" {
			return endpoint{}, errors.New("name missing")
		}
		return endpoint{name: name}, nil
	}
	host, portText, err := net.SplitHostPort(text)
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
