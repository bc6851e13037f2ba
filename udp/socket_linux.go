package udp

import (
	"fmt"
	"math"
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
	offloads offloads
	recv     int // granted buffers
	send     int
	dropped  uint32       // as Queues last saw it
	refusals *errorReader // nil unless the error queue is on
	// errorsPending is set when a call showed that the error queue may hold
	// something, and cleared when ReadErrors finds it empty.
	errorsPending bool
	// endGRO is set while GRO is to be turned off, when the queue is empty.
	endGRO bool
}

// offloads are those that a socket has, as the kernel said when it was opened.
// Whether the route to a destination can do GSO shows only when sending; an
// outbox remembers.
type offloads struct {
	gro bool // datagrams of a flow arrive as trains
	gso bool // runs leave as superpackets
}

// Local is the address the socket is bound to.
func (s *Socket) Local() netip.AddrPort { return s.local }

// GrantedBuffers returns the sizes of the buffers in the unit of Options. The
// kernel reports twice as much, because it doubles a request for its own
// overhead (socket(7)).
func (s *Socket) GrantedBuffers() (recv, send int) { return s.recv, s.send }

// Queues reads SO_MEMINFO (Linux 4.12), which is a system call; all is 0 if the
// kernel does not have it. SO_RXQ_OVFL, which also reports drops, would cost a
// control message per datagram.
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

// queues reads the result of SO_MEMINFO. The kernel's count of drops only
// grows, modulo 2^32.
func (s *Socket) queues(info *[memInfo]uint32) Queues {
	dropped := info[memDrops] - s.dropped
	s.dropped = info[memDrops]
	return Queues{Receive: int(info[memReceive]), Send: int(info[memSend]), Dropped: dropped}
}

// Drops returns the kernel's count of drops as Queues last read it.
func (s *Socket) Drops() uint32 { return s.dropped }

// ResumeDrops has Queues report the drops since the Drops of the process that the socket
// was taken over from. A count that the kernel has not reached is that of another socket
// and is ignored.
func (s *Socket) ResumeDrops(drops uint32) {
	s.Queues()
	if int32(s.dropped-drops) > 0 {
		s.dropped = drops
	}
}

// Indices into the result of SO_MEMINFO (linux/sock_diag.h, SK_MEMINFO_...).
const (
	memReceive = 0
	memSend    = 2
	memDrops   = 8
	memInfo    = 9
)

// ErrorsPending reports whether the error queue may hold something since
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

// isSoft reports whether a send or receive may have failed because of an earlier
// datagram. The kernel reports an ICMP error once, to the next call whichever it
// is (sk_err), so that it says nothing about that call's own datagram.
func isSoft(errno unix.Errno) bool {
	switch errno {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE,
		unix.EACCES, unix.EPROTO, unix.ENOPROTOOPT, unix.EOPNOTSUPP,
		unix.EHOSTDOWN, unix.ENONET:
		return true
	}
	return false
}

// setUp sets the options of a bound socket and notes which of the optional ones
// the kernel granted.
func (s *Socket) setUp(o Options) error {
	local, err := localOf(s.fd)
	if err != nil {
		return err
	}
	s.local, s.is4 = local, local.Addr().Is4()
	if err := s.setRequired(); err != nil {
		return err
	}

	if o.GRO {
		s.offloads.gro = s.setGRO(1) == nil
	}
	s.offloads.gso = o.GSO && s.knowsGSO()
	s.recv = grow(s.fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, o.RecvBuf)
	s.send = grow(s.fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, o.SendBuf)
	return nil
}

// setRequired sets the options that the relay cannot do without.
func (s *Socket) setRequired() error {
	type option struct {
		level, name, value int
		what               string
	}
	// Without DF: a peer may send at an MSS that the path of the other leg does
	// not carry, and SRT cannot discover that.
	options := []option{
		{unix.SOL_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT, "IP_MTU_DISCOVER"},
	}
	if !s.is4 {
		options = append(options, option{
			unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DONT, "IPV6_MTU_DISCOVER",
		})
	}
	switch wildcard := s.local.Addr().IsUnspecified(); {
	case s.refusals != nil && s.is4:
		options = append(options, option{unix.SOL_IP, unix.IP_RECVERR, 1, "IP_RECVERR"})
	case s.refusals != nil:
		options = append(options, option{unix.SOL_IPV6, unix.IPV6_RECVERR, 1, "IPV6_RECVERR"})
	case wildcard && s.is4:
		options = append(options, option{unix.SOL_IP, unix.IP_PKTINFO, 1, "IP_PKTINFO"})
	case wildcard:
		// On a dual-stack socket this includes IPv4 peers, with mapped
		// addresses.
		options = append(options, option{unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1, "IPV6_RECVPKTINFO"})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("setsockopt %s: %w", o.what, err)
		}
	}
	return nil
}

// grow asks for a buffer of want bytes, beyond net.core.{r,w}mem_max if the
// process may, and returns what was granted.
func grow(fd, option, forced, want int) int {
	if want <= 0 {
		return granted(fd, option)
	}
	want = min(want, math.MaxInt32/2)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, want)
	if granted(fd, option) < want {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, forced, want)
	}
	return granted(fd, option)
}

// granted returns the size of a buffer, in the unit of Options.
func granted(fd, option int) int {
	n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err != nil {
		return 0
	}
	return n / 2
}
