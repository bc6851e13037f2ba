package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

const (
	// wordSize is the alignment of control messages: that of a C long.
	wordSize = int(unsafe.Sizeof(uintptr(0)))
	// headerSize is where the content of a control message begins.
	headerSize = (unix.SizeofCmsghdr + wordSize - 1) &^ (wordSize - 1)

	// recvControlSize fits what a receive can bring at once: UDP_GRO (24 bytes
	// on 64 bits) and IPV6_PKTINFO (40), with room to spare for an option turned
	// on by whoever passed the socket.
	recvControlSize = 192
	// sendControlSize fits what a message can carry: UDP_SEGMENT (24) and
	// IPV6_PKTINFO (40).
	sendControlSize = 64
	// errorControlSize fits an extended error with the offender's address
	// (16 + 16 + 28), and what else a receive can bring.
	errorControlSize = 192
)

// control is what the control messages of one received message say.
type control struct {
	local  addr.IP // zero if not told
	stride int     // 0 if not told
}

// next splits the first control message off b. It is false at the end and at
// the first one that does not fit, behind which nothing can be found.
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

// parseControl reads the control messages of a received datagram. Those that
// are unknown or too short count as absent.
func parseControl(b []byte) (c control) {
	for {
		level, kind, content, rest, ok := nextControl(b)
		if !ok {
			return c
		}
		b = rest
		switch {
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(content) >= 4:
			// An int, although the option that asks for it when sending is a
			// uint16.
			c.stride = max(0, int(int32(binary.NativeEndian.Uint32(content))))
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(content) >= unix.SizeofInet4Pktinfo:
			// ipi_spec_dst, not ipi_addr: of a broadcast it is the address to
			// answer from.
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

// putHeader starts a control message of n bytes of content at the front of b,
// and returns where its content goes and how many bytes the message takes.
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
// interface stays 0: the index of the arrival may be stale after a change of
// routes, the address alone is enough to route by. A link-local address is not:
// every interface may have the same one, and the kernel refuses it without an
// interface (EINVAL) unless the destination names one.
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
