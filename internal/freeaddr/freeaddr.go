// Package freeaddr has addresses for tests where nobody listens until they do.
//
// To bind a port of the kernel's choice, and to close it for somebody else to bind, is no way
// to get one: another test or process may bind it in between, and a child that another test
// forks meanwhile has a copy of the socket until it executes its program.
package freeaddr

import (
	"net/netip"
	"os"
	"sync/atomic"
)

// Beneath Linux's default net.ipv4.ip_local_port_range, from which the kernel chooses ports.
const (
	firstPort = 20000
	ports     = 12000
)

var taken atomic.Uint32

// New returns an address of 127.0.0.0/8, for UDP and for TCP. It returns no address twice
// before it has returned 12,000 others, and none that another process gets.
func New() netip.AddrPort {
	pid := uint32(os.Getpid()) // 22 bits at most
	ip := netip.AddrFrom4([4]byte{127, byte(64 | pid>>16), byte(pid >> 8), byte(pid)})
	// Who uses the port alone, at every address, shall not meet another process there.
	return netip.AddrPortFrom(ip, uint16(firstPort+(97*pid+taken.Add(1))%ports))
}
