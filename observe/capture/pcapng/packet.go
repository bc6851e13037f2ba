package pcapng

import (
	"encoding/binary"
	"net"

	"srtrelay/addr"
)

type (
	end    = addr.AddrPort
	addrIP = addr.IP
)

const (
	ip4Header  = 20
	ip6Header  = 40
	udpHeader  = 8
	maxHeaders = ip6Header + udpHeader

	protocolUDP = 17
	hopLimit    = 64
)

// appendPacket appends an IP packet with a UDP datagram of the given length, of which data
// is the beginning. If data is shorter, there is no UDP checksum.
func appendPacket(b []byte, from, to end, length int, data []byte) []byte {
	if !from.Is4() || !to.Is4() {
		return append6(b, from, to, length, data)
	}
	n := len(b)
	b = append(b, make([]byte, ip4Header)...)
	h := b[n:]
	h[0] = 4<<4 | ip4Header/4
	binary.BigEndian.PutUint16(h[2:], uint16(ip4Header+udpHeader+length))
	h[6] = 0x40 // do not fragment
	h[8], h[9] = hopLimit, protocolUDP
	copy(h[12:16], from.IP[12:])
	copy(h[16:20], to.IP[12:])
	binary.BigEndian.PutUint16(h[10:], ^fold(sum(0, h)))
	return appendUDP(b, from, to, sum(sum(0, h[12:16]), h[16:20]), length, data)
}

func append6(b []byte, from, to end, length int, data []byte) []byte {
	n := len(b)
	b = append(b, make([]byte, ip6Header)...)
	h := b[n:]
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(udpHeader+length))
	h[6], h[7] = protocolUDP, hopLimit
	copy(h[8:24], from.IP[:])
	copy(h[24:40], to.IP[:])
	return appendUDP(b, from, to, sum(0, h[8:40]), length, data)
}

// appendUDP appends the UDP header and the data. pseudo is the checksum of the addresses.
func appendUDP(b []byte, from, to end, pseudo uint64, length int, data []byte) []byte {
	n := len(b)
	b = append(b, make([]byte, udpHeader)...)
	h := b[n:]
	binary.BigEndian.PutUint16(h, from.Port)
	binary.BigEndian.PutUint16(h[2:], to.Port)
	binary.BigEndian.PutUint16(h[4:], uint16(udpHeader+length))
	if len(data) == length {
		check := ^fold(sum(sum(pseudo+protocolUDP+uint64(udpHeader+length), h), data))
		if check == 0 {
			check = 0xFFFF // 0 says that there is none
		}
		binary.BigEndian.PutUint16(h[6:], check)
	}
	return append(b, data...)
}

// sum adds b's 16-bit words, the last one padded with a zero.
func sum(s uint64, b []byte) uint64 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint64(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		s += uint64(b[0]) << 8
	}
	return s
}

// fold adds the carries of a one's complement sum.
func fold(s uint64) uint16 {
	for s > 0xFFFF {
		s = s>>16 + s&0xFFFF
	}
	return uint16(s)
}

// routes caches the source addresses that the kernel chooses for backends, for upstream
// sockets that are not bound to an address.
type routes map[addr.IP]addr.IP

// maxRoutes bounds the cache. The capture of a stream normally has one or two backends.
const maxRoutes = 1024

func newRoutes() routes { return make(routes) }

// from returns the source address for a backend. It connects a UDP socket, which sends
// nothing; if that fails, it returns the unspecified address.
func (r routes) from(to addr.AddrPort) addr.IP {
	if ip, ok := r[to.IP]; ok {
		return ip
	}
	var ip addr.IP
	if to.Is4() {
		ip[10], ip[11] = 0xFF, 0xFF // 0.0.0.0
	}
	if conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to.Netip())); err == nil {
		ip = addr.FromIP(conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr())
		_ = conn.Close()
	}
	if len(r) < maxRoutes {
		r[to.IP] = ip
	}
	return ip
}
