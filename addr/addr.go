// Package addr is a UDP endpoint as a plain value.
//
// netip.Addr contains a pointer (its zone), so that the garbage collector scans
// tables of it. An AddrPort of this package has 24 bytes and no pointer, and is
// comparable, so that it can be the key of a table. Control-plane code uses net/netip
// and converts.
package addr

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"strconv"
)

// IP is an IPv6 address, or an IPv4 one in its IPv4-mapped form.
type IP [16]byte

// AddrPort is an IP address, its scope and a UDP port. The zero value is
// invalid. IPv4 is held mapped, so that the same caller is equal to itself on
// an IPv4 socket and on a dual-stack one.
type AddrPort struct {
	IP IP
	// Zone is the scope ID (interface index) of a link-local IPv6 address,
	// otherwise 0.
	Zone uint32
	Port uint16
}

// From converts a netip.AddrPort. A zone must be numeric, as the kernel's
// scope IDs are; any other zone becomes 0.
func From(ap netip.AddrPort) AddrPort {
	a := AddrPort{IP: ap.Addr().As16(), Port: ap.Port()}
	// Most addresses have no zone; parsing none would allocate an error.
	if zone := ap.Addr().Zone(); zone != "" && !ap.Addr().Is4In6() {
		if id, err := strconv.ParseUint(zone, 10, 32); err == nil {
			a.Zone = uint32(id)
		}
	}
	return a
}

// FromIP converts a netip.Addr without its zone.
func FromIP(ip netip.Addr) IP { return ip.As16() }

// Netip converts back; an IPv4-mapped address becomes IPv4.
func (a AddrPort) Netip() netip.AddrPort {
	ip := a.IP.Netip()
	if a.Zone != 0 {
		ip = ip.WithZone(strconv.FormatUint(uint64(a.Zone), 10))
	}
	return netip.AddrPortFrom(ip, a.Port)
}

// String formats like netip.AddrPort.
func (a AddrPort) String() string { return a.Netip().String() }

// Is4 reports whether the address is IPv4.
func (a AddrPort) Is4() bool { return a.IP.Is4() }

// IsValid reports whether a is not the zero value.
func (a AddrPort) IsValid() bool { return a != AddrPort{} }

// Netip converts to a netip.Addr without zone; an IPv4-mapped address becomes
// IPv4.
func (ip IP) Netip() netip.Addr { return netip.AddrFrom16(ip).Unmap() }

// Scoped returns a link-local IPv6 address with its scope ID in bytes 4 to 7,
// which are 0 in such an address (RFC 4291, 2.5.6; BSD kernels keep it like
// this). Any other address stays as it is.
func (ip IP) Scoped(zone uint32) IP {
	if ip.linkLocal() {
		binary.BigEndian.PutUint32(ip[4:], zone)
	}
	return ip
}

// Unscoped removes the scope ID and returns it, 0 for none.
func (ip IP) Unscoped() (IP, uint32) {
	if !ip.linkLocal() {
		return ip, 0
	}
	zone := binary.BigEndian.Uint32(ip[4:])
	clear(ip[4:8])
	return ip, zone
}

// linkLocal reports whether ip is in fe80::/16, where all link-local addresses
// are in practice; with or without a scope ID inside.
func (ip IP) linkLocal() bool { return binary.BigEndian.Uint32(ip[:4]) == 0xFE80_0000 }

// Is4 reports whether ip is an IPv4-mapped address.
func (ip IP) Is4() bool {
	hi := binary.BigEndian.Uint64(ip[:8])
	return hi == 0 && binary.BigEndian.Uint32(ip[8:]) == 0xFFFF
}

// Hash mixes the address with seed. It is not a cryptographic hash: a table that
// strangers can fill needs a secret seed.
func (a AddrPort) Hash(seed uint64) uint64 {
	const k0, k1 = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93
	lo := binary.LittleEndian.Uint64(a.IP[:8])
	hi := binary.LittleEndian.Uint64(a.IP[8:])
	tail := uint64(a.Zone)<<16 | uint64(a.Port)
	// The last round breaks up the steps that neighbouring ports would make:
	// without it one seed in a thousand puts 50 of them into one slot.
	return mix(mix(mix(lo^seed, hi^k0^bits.RotateLeft64(seed, 32)), tail^k1^seed), k0)
}

// mix folds the 128-bit product of a and b.
func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x2D358DCCAA6C78A5, b^0x8BB84B93962EACC9)
	return hi ^ lo
}
