package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

const (
	// wordSize is the alignment of control messages, that of a C long.
	wordSize = int(unsafe.Sizeof(uintptr(0)))
	// headerSize is the offset of a control message's content.
	headerSize = (unix.SizeofCmsghdr + wordSize - 1) &^ (wordSize - 1)

	// recvControlSize fits the control messages that a datagram can have,
	// UDP_GRO and IPV6_PKTINFO, and leaves room for others.
	recvControlSize = 192
	// sendControlSize fits the control messages that a message can carry.
	sendControlSize = segmentControlSize + sourceControlSize
	// segmentControlSize is the size of UDP_SEGMENT, with a uint16 inside.
	segmentControlSize = headerSize + wordSize
	// sourceControlSize is the size of IPV6_PKTINFO, the longer one of the two
	// families.
	sourceControlSize = headerSize + (unix.SizeofInet6Pktinfo+wordSize-1)&^(wordSize-1)
	// errorControlSize fits an extended error followed by the address of the
	// host that reported it, and the control messages of a datagram.
	errorControlSize = 192
)

// control is what is read from the control messages of one received message.
type control struct {
	local  addr.IP // zero if absent
	stride int     // 0 if absent
}

// nextControl splits the first control message off b. ok is false at the end and
// at a message that exceeds b, after which none can be found.
func nextControl(b []byte) (level, kind int32, content, rest []byte, ok bool) {
	if len(b) < headerSize {
		return 0, 0, nil, nil, false
	}
	var h unix.Cmsghdr // copied: b may be unaligned
	copy((*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:], b)
	if uint64(h.Len) < uint64(headerSize) || uint64(h.Len) > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	end := int(h.Len)
	aligned := (end + wordSize - 1) &^ (wordSize - 1)
	return h.Level, h.Type, b[headerSize:end:end], b[min(aligned, len(b)):], true
}

// parseControl reads the control messages of a received datagram. It ignores
// those that are unknown or too short.
func parseControl(b []byte) (c control) {
	for {
		level, kind, content, rest, ok := nextControl(b)
		if !ok {
			return c
		}
		b = rest
		switch {
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(content) >= 4:
			// An int, although UDP_SEGMENT has a uint16.
			c.stride = max(0, int(int32(binary.NativeEndian.Uint32(content))))
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(content) >= unix.SizeofInet4Pktinfo:
			// ipi_spec_dst, not ipi_addr: for a broadcast it is the address
			// to answer from.
			c.local = mapped([4]byte(content[4:8]))
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO && len(content) >= unix.SizeofInet6Pktinfo:
			c.local = addr.IP(content[:16]).Scoped(binary.NativeEndian.Uint32(content[16:]))
		}
	}
}

// parseError finds the extended error among the control messages of an entry
// of the error queue.
func parseError(b []byte) (e unix.SockExtendedErr, found bool) {
	for {
		level, kind, content, rest, ok := nextControl(b)
		if !ok {
			return e, found
		}
		b = rest
		is4 := level == unix.SOL_IP && kind == unix.IP_RECVERR
		is6 := level == unix.SOL_IPV6 && kind == unix.IPV6_RECVERR
		if (is4 || is6) && len(content) >= int(unsafe.Sizeof(e)) {
			copy((*[unsafe.Sizeof(e)]byte)(unsafe.Pointer(&e))[:], content)
			found = true
		}
	}
}

// putHeader begins a control message of n bytes of content at the front of b. It
// returns the place of the content and the size of the message.
func putHeader(b []byte, level, kind int32, n int) (content []byte, size int) {
	h := unix.Cmsghdr{Level: level, Type: kind}
	h.SetLen(headerSize + n)
	copy(b, (*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:])
	size = headerSize + (n+wordSize-1)&^(wordSize-1)
	clear(b[headerSize:size])
	return b[headerSize : headerSize+n], size
}

// putSegment writes the control message that makes a message a superpacket of
// segments of size bytes.
func putSegment(b []byte, size uint16) int {
	content, n := putHeader(b, unix.SOL_UDP, unix.UDP_SEGMENT, 2)
	binary.NativeEndian.PutUint16(content, size)
	return n
}

// putSource writes the control message that makes a message leave from ip. The
// interface stays 0: the address is enough to route by, and the interface on
// which the caller's datagrams arrived may be wrong after a change of routes.
// Only a link-local address needs its interface: several interfaces may have the
// same one, and without an interface the kernel refuses it (EINVAL) unless the
// destination names one.
func putSource(b []byte, ip *addr.IP, is4 bool) int {
	if is4 {
		content, n := putHeader(b, unix.SOL_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		copy(content[4:8], ip[12:])
		return n
	}
	content, n := putHeader(b, unix.SOL_IPV6, unix.IPV6_PKTINFO, unix.SizeofInet6Pktinfo)
	source, zone := ip.Unscoped()
	copy(content, source[:])
	binary.NativeEndian.PutUint32(content[16:], zone)
	return n
}
