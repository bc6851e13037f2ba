//go:build linux

package e2e

import (
	enc "encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
)

// rawSocket sends what an attacker with raw sockets sends: UDP from any
// source, and ICMP about datagrams that never were.
type rawSocket struct {
	t         *testing.T
	udp, icmp int
	buf       []byte
}

// bigEndian, because the harness has the name binary for the relay's.
var bigEndian = enc.BigEndian

const (
	ipHeader   = 20
	udpHeader  = 8
	icmpHeader = 8
	// icmpQuotes is the most of a datagram that Linux itself quotes.
	icmpQuotes = 576 - ipHeader - icmpHeader
)

func openRaw(t *testing.T) *rawSocket {
	t.Helper()
	need.Root(t, "a raw socket")
	r := &rawSocket{t: t, udp: -1, icmp: -1, buf: make([]byte, 0, 4096)}
	t.Cleanup(func() {
		_ = unix.Close(r.udp)
		_ = unix.Close(r.icmp)
	})
	var err error
	// IPPROTO_RAW implies IP_HDRINCL (raw(7)).
	if r.udp, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err == nil {
		r.icmp, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	}
	if errors.Is(err, unix.EPERM) {
		need.Skip(t, "raw sockets are not permitted")
	}
	must(t, err)
	return r
}

// appendIP appends an IPv4 and a UDP header. The kernel fills in the length
// and the checksum of what it sends; of what is only quoted nobody checks
// them. A UDP checksum of 0 is none.
func appendIP(b []byte, from, to netip.AddrPort, size int) []byte {
	b = append(b, 0x45, 0)
	b = bigEndian.AppendUint16(b, uint16(ipHeader+udpHeader+size))
	b = append(b, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	b = append(b, from.Addr().AsSlice()...)
	b = append(b, to.Addr().AsSlice()...)
	b = bigEndian.AppendUint16(b, from.Port())
	b = bigEndian.AppendUint16(b, to.Port())
	b = bigEndian.AppendUint16(b, uint16(udpHeader+size))
	return append(b, 0, 0)
}

// send sends payload to an address as if it came from another.
func (r *rawSocket) send(from, to netip.AddrPort, payload []byte) {
	r.buf = append(appendIP(r.buf[:0], from, to, len(payload)), payload...)
	r.sendTo(r.udp, to)
}

// portUnreachable sends an ICMP port unreachable to the sender of a datagram to a backend.
func (r *rawSocket) portUnreachable(sender, backend netip.AddrPort, quoted []byte) {
	const unreachable, port = 3, 3
	r.buf = append(r.buf[:0], unreachable, port, 0, 0, 0, 0, 0, 0)
	r.buf = append(appendIP(r.buf, sender, backend, len(quoted)), quoted[:min(len(quoted), icmpQuotes-ipHeader-udpHeader)]...)
	bigEndian.PutUint16(r.buf[2:], checksum(r.buf))
	r.sendTo(r.icmp, sender)
}

func (r *rawSocket) sendTo(fd int, to netip.AddrPort) {
	if err := unix.Sendto(fd, r.buf, 0, &unix.SockaddrInet4{Addr: to.Addr().As4()}); err != nil {
		r.t.Fatalf("raw send: %v", err)
	}
}

// checksum is that of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(bigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum > 0xFFFF {
		sum = sum>>16 + sum&0xFFFF
	}
	return ^uint16(sum)
}
