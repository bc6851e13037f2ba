package pcapng

import (
	"net"

	"srtrelay/addr"
)

// routes finds the address from which the kernel sends to a backend: sockets
// that are bound to none leave the choice to the routing table.
type routes map[addr.IP]addr.IP

// maxRoutes bounds what is remembered; a capture of one stream sees a backend
// or two.
const maxRoutes = 1024

func newRoutes() routes { return make(routes) }

// from asks the routing table once per backend. Connecting a UDP socket sends
// nothing. Without an answer it is the unspecified address.
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
