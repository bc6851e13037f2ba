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
	dropped  uint32       // as Queues last saw it
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

// Queues is how a socket's queues in the kernel stand.
type Queues struct {
	// Receive and Send are the kernel memory, in bytes, that the datagrams take
	// which wait to be received and to leave. A receive queue that stays full
	// loses datagrams next.
	Receive, Send int
	// Dropped is how many datagrams found no room in the receive queue since
	// Queues was asked before.
	Dropped uint32
}

// Queues asks the kernel (SO_MEMINFO, Linux 4.12); all is 0 where it does not
// say. It takes a system call. SO_RXQ_OVFL, which tells of drops as well, would
// cost a control message per datagram.
func (s *Socket) Queues() Queues {
	var info [memInfo]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return Queues{}
	}
	return s.queues(&info)
}

// queues reads what SO_MEMINFO returned. The kernel's count of drops only
// rises, modulo 2^32.
func (s *Socket) queues(info *[memInfo]uint32) Queues {
	dropped := info[memDrops] - s.dropped
	s.dropped = info[memDrops]
	return Queues{Receive: int(info[memReceive]), Send: int(info[memSend]), Dropped: dropped}
}

// Places in what SO_MEMINFO returns (linux/sock_diag.h, SK_MEMINFO_...).
const (
	memReceive = 0
	memSend    = 2
	memDrops   = 8
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
