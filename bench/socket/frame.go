//go:build linux

package socket

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	etherSize = 14
	ipSize    = 20
	udpSize   = 8
	// addressesSize is the size of both addresses, which end an IP header.
	addressesSize = 8
	// offloadSize is the size of struct virtio_net_hdr, which says what the device has still to
	// do with a frame.
	offloadSize = 10
	// ipAt and udpAt are the offsets of headers, and frameSize is the size of all before a UDP
	// payload.
	ipAt      = offloadSize + etherSize
	udpAt     = ipAt + ipSize
	frameSize = udpAt + udpSize
	// udpChecksum is the offset of the checksum in a UDP header.
	udpChecksum = 6
	// needsChecksum is VIRTIO_NET_HDR_F_NEEDS_CSUM.
	needsChecksum = 1

	timeToLive   = 64
	dontFragment = 1 << 14
)

// Path sends frames to an IPv4 host, past this host's IP stack: a load generator stands for
// many hosts, and its IP stack is not what is measured.
type Path struct {
	fd     int
	source [6]byte // hardware address of the interface
	next   [6]byte // of the next hop
}

// OpenPath finds the way to a host that this one has exchanged datagrams with,
// so that its hardware address is known. It needs the right to packet sockets.
func OpenPath(to netip.Addr) (*Path, error) {
	if !to.Is4() {
		return nil, fmt.Errorf("send frames to %s: not IPv4", to)
	}
	if to.IsLoopback() {
		return nil, fmt.Errorf("send frames to %s: not Ethernet", to)
	}
	device, hop, err := route(to)
	if err != nil {
		return nil, fmt.Errorf("send frames to %s: %w", to, err)
	}
	link, err := net.InterfaceByName(device)
	if err != nil {
		return nil, fmt.Errorf("send frames to %s: find interface: %w", to, err)
	}
	if len(link.HardwareAddr) != 6 {
		return nil, fmt.Errorf("send frames to %s: interface %s is not Ethernet", to, device)
	}
	p := &Path{source: [6]byte(link.HardwareAddr)}
	if p.next, err = neighbour(hop, device); err != nil {
		return nil, fmt.Errorf("send frames to %s: %w", to, err)
	}
	// Protocol 0: nothing is received.
	p.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("send frames: %w", os.NewSyscallError("socket", err))
	}
	if err := p.bind(link.Index); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Path) bind(link int) error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1); err != nil {
		return fmt.Errorf("send frames: %w", os.NewSyscallError("setsockopt", err))
	}
	if err := unix.SetsockoptInt(p.fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		return fmt.Errorf("send frames: %w", os.NewSyscallError("setsockopt", err))
	}
	if err := unix.Bind(p.fd, &unix.SockaddrLinklayer{Ifindex: link}); err != nil {
		return fmt.Errorf("send frames: %w", os.NewSyscallError("bind", err))
	}
	return nil
}

// Outbox makes an outbox of frames.
func (p *Path) Outbox(c *Clock, stamp int) *Outbox { return newOutbox(p.fd, c, stamp, frameSize) }

// Close closes the socket.
func (p *Path) Close() error { return unix.Close(p.fd) }

// route finds the interface and the next hop for ip.
func route(ip netip.Addr) (device string, hop netip.Addr, err error) {
	f, err := os.Open("/proc/net/route")
	if err != nil {
		return "", hop, fmt.Errorf("read routes: %w", err)
	}
	defer f.Close()
	return readRoutes(f, ip)
}

// readRoutes takes the longest prefix that holds ip. A line is: interface,
// destination, gateway, flags, refs, use, metric, mask; addresses in hex, in
// the machine's byte order.
func readRoutes(r io.Reader, ip netip.Addr) (device string, hop netip.Addr, err error) {
	raw := ip.As4()
	want, longest := binary.NativeEndian.Uint32(raw[:]), -1
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 8 {
			continue
		}
		var v [3]uint32
		bad := false
		for i, k := range [3]int{1, 2, 7} {
			n, err := strconv.ParseUint(fields[k], 16, 32)
			v[i], bad = uint32(n), bad || err != nil
		}
		destination, gateway, mask := v[0], v[1], v[2]
		if bad || want&mask != destination {
			continue
		}
		if bits := prefix(mask); bits > longest {
			longest, device, hop = bits, fields[0], ip
			if gateway != 0 {
				var b [4]byte
				binary.NativeEndian.PutUint32(b[:], gateway)
				hop = netip.AddrFrom4(b)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return "", hop, fmt.Errorf("read routes: %w", err)
	}
	if longest < 0 {
		return "", hop, errors.New("no route through an interface")
	}
	return device, hop, nil
}

func prefix(mask uint32) (n int) {
	for ; mask != 0; mask &= mask - 1 {
		n++
	}
	return n
}

// neighbour is the hardware address of a host on an interface.
func neighbour(ip netip.Addr, device string) (mac [6]byte, err error) {
	f, err := os.Open("/proc/net/arp")
	if err != nil {
		return mac, fmt.Errorf("read neighbours: %w", err)
	}
	defer f.Close()
	return readNeighbours(f, ip, device)
}

// readNeighbours looks for a line: address, hardware type, flags, hardware
// address, mask, interface.
func readNeighbours(r io.Reader, ip netip.Addr, device string) (mac [6]byte, err error) {
	for lines := bufio.NewScanner(r); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) < 6 || fields[0] != ip.String() || fields[5] != device {
			continue
		}
		b, err := hex.DecodeString(strings.ReplaceAll(fields[3], ":", ""))
		if err == nil && len(b) == 6 && [6]byte(b) != mac {
			return [6]byte(b), nil
		}
	}
	return mac, fmt.Errorf("hardware address of %s on %s is not known", ip, device)
}

// Head is the headers of the datagrams from one port to another. Only the lengths and their
// checksum change.
type Head struct {
	b      [frameSize]byte
	sum    uint32 // of the IP header's words with length and checksum 0
	pseudo uint32 // of UDP's pseudo header without length
}

// Head makes the headers of datagrams between two IPv4 addresses. As for those of a UDP socket,
// the UDP checksum is left to the device.
func (p *Path) Head(from, to netip.AddrPort) (h Head) {
	h.b[0] = needsChecksum
	binary.NativeEndian.PutUint16(h.b[6:], udpAt-offloadSize)
	binary.NativeEndian.PutUint16(h.b[8:], udpChecksum)
	ether := h.b[offloadSize:]
	copy(ether, p.next[:])
	copy(ether[6:], p.source[:])
	binary.BigEndian.PutUint16(ether[12:], unix.ETH_P_IP)
	putIP(h.b[ipAt:], from.Addr(), to.Addr())
	udp := h.b[udpAt:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	for i := ipAt; i < udpAt; i += 2 {
		h.sum += uint32(binary.BigEndian.Uint16(h.b[i:]))
	}
	h.pseudo = unix.IPPROTO_UDP
	for i := udpAt - addressesSize; i < udpAt; i += 2 {
		h.pseudo += uint32(binary.BigEndian.Uint16(h.b[i:]))
	}
	return h
}

func putIP(b []byte, from, to netip.Addr) {
	b[0] = 4<<4 | ipSize/4
	binary.BigEndian.PutUint16(b[6:], dontFragment)
	b[8], b[9] = timeToLive, unix.IPPROTO_UDP
	source, target := from.As4(), to.As4()
	copy(b[12:], source[:])
	copy(b[16:], target[:])
}

// write writes the headers for n bytes of payload.
func (h *Head) write(b []byte, n int) {
	copy(b, h.b[:])
	length := udpSize + n
	binary.BigEndian.PutUint16(b[ipAt+2:], uint16(ipSize+length))
	binary.BigEndian.PutUint16(b[ipAt+10:], ^fold(h.sum+uint32(ipSize+length)))
	binary.BigEndian.PutUint16(b[udpAt+4:], uint16(length))
	binary.BigEndian.PutUint16(b[udpAt+udpChecksum:], fold(h.pseudo+uint32(length)))
}

// fold adds the carries of a sum of 16-bit words.
func fold(sum uint32) uint16 {
	sum = sum&0xffff + sum>>16
	return uint16(sum&0xffff + sum>>16)
}
