package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/pool"
)

// errorReader is the memory for one read of the error queue.
type errorReader struct {
	messages [1]unix.Mmsghdr
	vector   unix.Iovec
	name     sockaddr
	control  [errorControlSize]byte
	// quoted fits what any ICMP report quotes: a report has at most 576 bytes
	// in IPv4 (RFC 1812) and 1280 in IPv6 (RFC 4443).
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

// ReadErrors removes up to limit entries from the socket's error queue, calls fn
// for each and returns their number. Only the sockets of OpenBack have an error
// queue. As long as entries are left, the poller reports the socket as errored.
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
	return Refusal{From: getSockaddr(&r.name), Quoted: r.quoted[:m.Len:m.Len], Kind: classify(e)}, 0
}

// classify reads an extended error. From ICMP, ECONNREFUSED means port
// unreachable and nothing else.
func classify(e unix.SockExtendedErr) Kind {
	icmp := e.Origin == unix.SO_EE_ORIGIN_ICMP || e.Origin == unix.SO_EE_ORIGIN_ICMP6
	switch errno := unix.Errno(e.Errno); {
	case errno == unix.ECONNREFUSED && icmp:
		return KindRefused
	case errno == unix.EMSGSIZE:
		return KindTooBig
	case isUnreachable(errno), errno == unix.EHOSTDOWN, errno == unix.ENONET,
		errno == unix.ENOPROTOOPT, errno == unix.EOPNOTSUPP:
		return KindUnreachable
	}
	return KindOther
}

// isUnreachable reports whether errno means that there is no route or that a
// policy forbids it. The first EPERM of a flow may also come from a full
// connection tracking table; it counts all the same, because SRT retransmits.
func isUnreachable(errno unix.Errno) bool {
	switch errno {
	case unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPERM, unix.EACCES:
		return true
	}
	return false
}
