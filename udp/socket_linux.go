package udp

import (
	"net/netip"
	"os"
	"unsafe"

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

// Queued is the kernel memory, in bytes, that the datagrams take which wait to
// be received and to leave (SO_MEMINFO, Linux 4.12); 0 where the kernel does
// not say. A receive queue that stays full loses datagrams next.
func (s *Socket) Queued() (receive, send int) {
	var info [memInfo]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, 0
	}
	return int(info[memReceive]), int(info[memSend])
}

// Places in what SO_MEMINFO returns (linux/sock_diag.h, SK_MEMINFO_...).
const (
	memReceive = 0
	memSend    = 2
	memInfo    = 9
)

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
