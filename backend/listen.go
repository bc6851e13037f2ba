package backend

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// ParseListen returns the address of a server that announces a listen endpoint in
// its heartbeat: 10080, :10080, 0.0.0.0:10080, [::]:10080 or a specific address,
// each also after udp:// or srt://. Without a host, or with a wildcard, the
// address is the heartbeat's ip. If that is missing or is not the address of one
// host that this relay can reach, it is peer, the heartbeat's sender. The error
// says what is wrong with the entry.
func ParseListen(entry, ip string, peer netip.Addr) (netip.AddrPort, error) {
	host, port, err := splitListen(entry)
	if err != nil {
		return netip.AddrPort{}, err
	}
	peer = numericZone(peer.Unmap())
	if host != "" {
		at, err := netip.ParseAddr(host)
		if err != nil {
			return netip.AddrPort{}, fmt.Errorf("%q: host is not an IP address", entry)
		}
		if at = numericZone(at.Unmap()); !at.IsUnspecified() {
			if !reachable(at, peer) {
				return netip.AddrPort{}, fmt.Errorf("%q: host is not an address that the relay can reach", entry)
			}
			return netip.AddrPortFrom(at, port), nil
		}
	}
	if at, err := netip.ParseAddr(strings.Trim(ip, "[]")); err == nil {
		if at = numericZone(at.Unmap()); reachable(at, peer) {
			return netip.AddrPortFrom(at, port), nil
		}
	}
	if !reachable(peer, peer) {
		return netip.AddrPort{}, fmt.Errorf("%q: names no host, and ip %q is no address that the relay can reach", entry, ip)
	}
	return netip.AddrPortFrom(peer, port), nil
}

// splitListen splits an entry into its host, "" for none, and its port.
func splitListen(entry string) (host string, port uint16, err error) {
	text := entry
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		if s := strings.ToLower(scheme); s != "udp" && s != "srt" {
			return "", 0, fmt.Errorf("%q: scheme is neither udp nor srt", entry)
		}
		text = strings.TrimSuffix(rest, "/")
	}
	portText := text
	if strings.Contains(text, ":") {
		if host, portText, err = net.SplitHostPort(text); err != nil {
			return "", 0, fmt.Errorf("%q: not a port, nor host:port", entry)
		}
	}
	if portText == "" || strings.Trim(portText, "0123456789") != "" {
		return "", 0, fmt.Errorf("%q: port is not a number", entry)
	}
	n, err := strconv.ParseUint(portText, 10, 16)
	if errors.Is(err, strconv.ErrRange) || n == 0 {
		return "", 0, fmt.Errorf("%q: port is not within 1 to 65535", entry)
	}
	return host, uint16(n), nil
}

// reachable reports whether at can be the address of one host from the relay's
// point of view. A loopback address counts only if peer has one too: from another
// host it would lead the relay to itself.
func reachable(at, peer netip.Addr) bool {
	switch {
	case !at.IsValid(), at.IsUnspecified(), at.IsMulticast():
		return false
	case at.IsLoopback():
		return !peer.IsValid() || peer.IsLoopback()
	case at.Is4():
		// 0/8 is this network, 240/4 reserved with the broadcast address in
		// it (RFC 1122, RFC 1112).
		first := at.As4()[0]
		return first != 0 && first < 240
	}
	// A link-local address means nothing without its interface.
	return !at.IsLinkLocalUnicast() || at.Zone() != ""
}
