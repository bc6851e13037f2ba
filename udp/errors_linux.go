package udp

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
	"srtrelay/pool"
)

// Origin says who reported an error.
type Origin uint8

// Origins of an error.
const (
	OriginOther Origin = iota
	OriginLocal        // this host, before anything was sent
	OriginICMP
	OriginICMP6
)

// Kind says what an error means for its destination.
type Kind uint8

// Kinds of an error.
const (
	// KindOther is none of the kinds below.
	KindOther Kind = iota
	// KindRefused is ICMP port unreachable: the host is there, and nobody
	// listens on the port.
	KindRefused
	// KindUnreachable is no way to the host, or none that is permitted.
	KindUnreachable
	// KindTooBig is a datagram longer than the path takes.
	KindTooBig
)

// Refusal is one entry of a socket's error queue.
type Refusal struct {
	// From is the destination that the failed datagram had, not the router
	// that reported it.
	From addr.AddrPort
	// Quoted is what the report quotes of the datagram's payload, perhaps
	// nothing. It is valid until the callback returns.
	Quoted []byte
	Kind   Kind
	Origin Origin
	Errno  syscall.Errno
}

// errorReader is what one read of the error queue needs.
type errorReader struct {
	messages [1]unix.Mmsghdr
	vector   unix.Iovec
	name     sockaddr
	control  [errorControlSize]byte
	// quoted fits what any ICMP report quotes: at most 576 bytes of an IPv4
	// packet (RFC 1812), 1280 of an IPv6 one (RFC 4443).
	quoted [pool.SingleSize]byte
}

func newErrorReader() *errorReader {
	r := &errorReader{}
	r.vector.Base = &r.quoted[0]
	r.vector.SetLen(len(r.quoted))
	h := &r.messages[0].Hdr
	h.Name = (*byte)(unsafe.Pointer(&r.name))
	h.Iov = &r.vector
	h.SetIovlen(1)
	h.Control = &r.control[0]
	return r
}

// ReadErrors takes up to limit entries from the socket's error queue, calls fn
// for each and returns their number. Only the sockets of OpenBack have one. As
// long as entries are left, the poller finds the socket errored.
func (s *Socket) ReadErrors(limit int, fn func(Refusal)) (n int) {
	if s.refusals == nil || s.fd == closedFD {
		s.errorsPending = false
		return 0
	}
	for n < limit {
		refusal, errno := s.refusals.read(s.fd)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			s.errorsPending = false
			return n
		}
		n++
		fn(refusal)
	}
	s.errorsPending = true
	return n
}

func (r *errorReader) read(fd int) (Refusal, unix.Errno) {
	m := &r.messages[0]
	m.Hdr.Namelen = unix.SizeofSockaddrInet6
	m.Hdr.SetControllen(len(r.control))
	m.Hdr.Flags = 0
	r.name.Family = unix.AF_UNSPEC
	if _, errno := receiveMessages(fd, r.messages[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT); errno != 0 {
		return Refusal{}, errno
	}
	e, _ := parseError(r.control[:m.Hdr.Controllen])
	refusal := Refusal{
		From:   getSockaddr(&r.name),
		Quoted: r.quoted[:m.Len:m.Len],
		Errno:  syscall.Errno(e.Errno),
	}
	refusal.Origin, refusal.Kind = classify(e)
	return refusal, 0
}

// classify reads an extended error. ECONNREFUSED is what the kernel makes of
// ICMP port unreachable and of nothing else.
func classify(e unix.SockExtendedErr) (origin Origin, kind Kind) {
	switch e.Origin {
	case unix.SO_EE_ORIGIN_LOCAL:
		origin = OriginLocal
	case unix.SO_EE_ORIGIN_ICMP:
		origin = OriginICMP
	case unix.SO_EE_ORIGIN_ICMP6:
		origin = OriginICMP6
	}
	switch errno := unix.Errno(e.Errno); {
	case errno == unix.ECONNREFUSED && (origin == OriginICMP || origin == OriginICMP6):
		kind = KindRefused
	case errno == unix.EMSGSIZE:
		kind = KindTooBig
	case isUnreachable(errno), errno == unix.EHOSTDOWN, errno == unix.ENONET,
		errno == unix.ENOPROTOOPT, errno == unix.EOPNOTSUPP:
		kind = KindUnreachable
	}
	return origin, kind
}

// isUnreachable reports whether errno says that there is no route or that
// policy forbids it. The first EPERM of a flow may instead be a full connection
// tracking table; it is counted all the same, SRT sends again.
func isUnreachable(errno unix.Errno) bool {
	switch errno {
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPERM, unix.EACCES:
		return true
	}
	return false
}
