package rules

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// networks finds the narrowest network of an address, by one look-up per prefix
// length in use, however many networks there are.
type networks[T any] struct {
	entries map[netip.Prefix]T
	// lengths are the prefix lengths in use, longest first.
	lengths4, lengths6 []int
}

// add adds a network. It is false if the network is there already.
func (n *networks[T]) add(p netip.Prefix, v T) bool {
	if _, there := n.entries[p]; there {
		return false
	}
	if n.entries == nil {
		n.entries = make(map[netip.Prefix]T)
	}
	n.entries[p] = v
	lengths := &n.lengths6
	if p.Addr().Is4() {
		lengths = &n.lengths4
	}
	i, found := slices.BinarySearchFunc(*lengths, p.Bits(), func(have, bits int) int { return bits - have })
	if !found {
		*lengths = slices.Insert(*lengths, i, p.Bits())
	}
	return true
}

// find returns the value of the narrowest network that contains ip.
func (n *networks[T]) find(ip netip.Addr) (v T, ok bool) {
	ip = plain(ip)
	lengths := n.lengths6
	if ip.Is4() {
		lengths = n.lengths4
	}
	for _, bits := range lengths {
		p, err := ip.Prefix(bits)
		if err != nil {
			return v, false // the zero address
		}
		if v, ok = n.entries[p]; ok {
			return v, true
		}
	}
	return v, false
}

// plain is an address as it stands in a prefix: IPv4 as itself, no zone.
func plain(ip netip.Addr) netip.Addr { return ip.Unmap().WithZone("") }

// access says who may publish, or play. The narrowest network of a caller decides,
// so that both "deny all, allow these" and "allow all, deny these" work.
type access struct {
	verdicts networks[bool]
	// listed means that there is an allow list: then an unlisted caller is
	// denied.
	listed bool
}

func (a *access) admits(ip netip.Addr) bool {
	if allowed, ok := a.verdicts.find(ip); ok {
		return allowed
	}
	return !a.listed
}

// parseNetwork reads 10.0.0.0/8, 2001:db8::/32 or a single address.
func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, errors.New("not a network, write it like 10.0.0.0/8 or 2001:db8::/32")
		}
		if ip.Zone() != "" {
			return netip.Prefix{}, errors.New("a network has no zone")
		}
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return p, errors.New("not a network, write it like 10.0.0.0/8 or 2001:db8::/32")
	case p.Addr().Is4In6():
		return p, errors.New("write it as an IPv4 network")
	case p != p.Masked():
		return p, fmt.Errorf("has bits behind its prefix, did you mean %s?", p.Masked())
	}
	return p, nil
}
