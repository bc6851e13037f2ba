//go:build linux

package load

import (
	"fmt"
	"net"
	"net/netip"
)

// resolve finds the address of host:port, IPv4 if there is a choice.
func resolve(text string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp", text)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("resolve %s: %w", text, err)
	}
	ap := a.AddrPort()
	if !ap.Addr().IsValid() || ap.Port() == 0 {
		return netip.AddrPort{}, fmt.Errorf("%q: host or port missing", text)
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}
