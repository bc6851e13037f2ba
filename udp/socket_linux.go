package udp

import (
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// closedFD marks a closed socket; poll ignores negative descriptors.
const closedFD = -1

// Socket is a non-blocking, unconnected UDP socket. It is read, written and
// closed only by the shard that owns it.
type Socket struct {
	fd       int
	is4      bool // AF_INET; otherwise AF_INET6, perhaps dual-stack
	local    netip.AddrPort
	caps     Caps
	recv     int // granted buffers
	send     int
	dropped  uint32       // SO_RXQ_OVFL as last seen
	refusals *errorReader // nil unless the error queue is on
	// errorsPending is set where the kernel showed that the error queue may
	// hold something, and cleared when ReadErrors found it empty.
	errorsPending bool
}

// Local is the address the socket is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// Caps is what the socket can still do.
func (s *Socket) Caps() Caps { return s.caps }

// GrantedBuffers is the size of both buffers in the unit of Options, which is
// half of what the kernel reports: it doubles a request for its bookkeeping.
func (s *Socket) GrantedBuffers() (recv, send int) { return s.recv, s.send }

// ErrorsPending reports that the error queue may hold something since
// ReadErrors last emptied it.
func (s *Socket) ErrorsPending() bool { return s.errorsPending }

// Close closes the socket; closing it again does nothing.
func (s *Socket) Close() error {
	if s.fd == closedFD {
		return nil
	}
	fd := s.fd
	s.fd = closedFD
	// The descriptor is gone even if close reports EINTR or EIO.
	return os.NewSyscallError("close", unix.Close(fd))
}

// isSoft reports whether a send or receive failed for something other than the
// socket itself. An ICMP error is reported once, to whichever call comes next
// (sk_err), and so says nothing about that call's own datagram.
func isSoft(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE,
		unix.EACCES, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP,
		unix.EHOSTDOWN, unix.ENONET:
		return true
	}
	return false
}
