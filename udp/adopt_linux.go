package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"
)

// Reasons not to adopt a descriptor.
var (
	errNotUDP    = errors.New("not a UDP socket")
	errShared    = errors.New("its SO_REUSEPORT is not that of its kind")
	errConnected = errors.New("it is connected")
)

// Dup returns a descriptor of the same socket for another process, which the caller closes.
func (s *Socket) Dup() (int, error) { return DupFD(s.fd) }

// DupFD duplicates a descriptor for another process. It takes one that is kept for upstream
// sockets if need be.
func DupFD(fd int) (int, error) {
	return openReserved(func() (int, error) {
		dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return dup, os.NewSyscallError("fcntl", err)
	})
}

// AdoptFront makes sockets of a group's descriptors, which another process opened with
// OpenFront: fds[i] is its member i. local is the address that they are bound to. The
// sockets own the descriptors; after an error all are closed.
//
// The other process may still use the sockets, so adopting them changes nothing that it
// depends on. What is queued stays queued. The group keeps its steering. Configure sets the
// buffers and GRO.
func AdoptFront(fds []int, local netip.AddrPort, o Options) (group []*Socket, err error) {
	for _, fd := range fds {
		group = append(group, &Socket{fd: fd})
	}
	for i, s := range group {
		if err := s.adopt(local, true, o); err != nil {
			for _, s := range group {
				_ = s.Close()
			}
			return nil, fmt.Errorf("adopt socket %d of %s: %w", i, local, err)
		}
	}
	return group, nil
}

// AdoptBack is AdoptFront for a socket of OpenBack.
func AdoptBack(fd int, local netip.AddrPort, o Options) (*Socket, error) {
	s := &Socket{fd: fd, refusals: newErrorReader()}
	if err := s.adopt(local, false, o); err != nil {
		_ = s.Close()
		return nil, fmt.Errorf("adopt upstream socket %s: %w", local, err)
	}
	// What the queue held before this process polled it.
	s.errorsPending = true
	return s, nil
}

// adopt checks that a descriptor is what it should be, and reads its options.
func (s *Socket) adopt(local netip.AddrPort, shared bool, o Options) error {
	if err := s.checkKind(local, shared); err != nil {
		return err
	}
	unix.CloseOnExec(s.fd)
	if err := unix.SetNonblock(s.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	s.local, s.is4 = local, local.Addr().Is4()
	if err := s.setRequired(); err != nil {
		return err
	}
	s.offloads = offloads{gro: s.hasGRO(), gso: o.GSO && s.knowsGSO()}
	s.recv, s.send = granted(s.fd, unix.SO_RCVBUF), granted(s.fd, unix.SO_SNDBUF)
	s.Queues() // what was dropped before is not counted again
	return nil
}

// checkKind reports what a descriptor is instead of an unconnected UDP socket that is bound
// to local. shared says that it must be a member of a SO_REUSEPORT group.
func (s *Socket) checkKind(local netip.AddrPort, shared bool) error {
	option := func(name int) int {
		n, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, name)
		if err != nil {
			return -1
		}
		return n
	}
	if option(unix.SO_TYPE) != unix.SOCK_DGRAM || option(unix.SO_PROTOCOL) != unix.IPPROTO_UDP {
		return errNotUDP
	}
	if domain := option(unix.SO_DOMAIN); domain != family(local.Addr()) {
		return fmt.Errorf("it is of address family %d, not %d", domain, family(local.Addr()))
	}
	bound, err := localOf(s.fd)
	if err != nil {
		return err
	}
	if bound != local {
		return fmt.Errorf("it is bound to %s", bound)
	}
	if (option(unix.SO_REUSEPORT) == 1) != shared {
		return errShared
	}
	if _, err := unix.Getpeername(s.fd); err == nil {
		return errConnected
	}
	return nil
}

// hasGRO reports whether the kernel may deliver trains. Kernels before 5.14 do not tell.
func (s *Socket) hasGRO() bool {
	on, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO)
	return err != nil || on == 1
}

// HasGRO reports whether trains may arrive, so that batches need space for them.
func (s *Socket) HasGRO() bool { return s.offloads.gro }

func (s *Socket) knowsGSO() bool {
	// Reading the option succeeds if the kernel knows it.
	_, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
	return err == nil
}

func (s *Socket) setGRO(on int) error {
	return unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO, on)
}

// Configure sets the options of an adopted socket that may differ from those that it was
// opened with: buffers and GRO. It loses nothing that is queued. The process that opened the
// socket must not use it any more. Batches need space for trains still: GRO ends when the
// queue is empty.
func (s *Socket) Configure(o Options) {
	if s.fd == closedFD {
		return
	}
	s.recv = grow(s.fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, o.RecvBuf)
	s.send = grow(s.fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, o.SendBuf)
	s.endGRO = s.offloads.gro && !o.GRO
	if o.GRO {
		s.offloads.gro = s.setGRO(1) == nil
	}
}

// tryEndGRO turns GRO off if the queue is empty. A train that had come since the last receive
// call would be read without its stride: then GRO stays on until the queue is empty again.
func (s *Socket) tryEndGRO() {
	if s.setGRO(0) != nil {
		s.endGRO = false
		return
	}
	polled := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(polled, 0); err == nil && (n == 0 || polled[0].Revents&unix.POLLIN == 0) {
		s.offloads.gro, s.endGRO = false, false
		return
	}
	_ = s.setGRO(1) // it has just been on
}

// CloseFD closes a descriptor that is not passed on, or not adopted, after all.
func CloseFD(fd int) error { return os.NewSyscallError("close", unix.Close(fd)) }

// ClosedSocket returns a socket that is closed: it keeps the place of one among those of a
// Poller.
func ClosedSocket() *Socket { return &Socket{fd: closedFD} }

// Serves reports whether a socket that is bound to an address is what OpenFront makes of
// listen, which may have port 0, a zone's name, or be [::] on a host without IPv6.
func Serves(bound, listen netip.AddrPort) bool {
	if listen.Port() != 0 && bound.Port() != listen.Port() {
		return false
	}
	a, b := bound.Addr(), listen.Addr()
	if b == netip.IPv6Unspecified() && a == netip.IPv4Unspecified() {
		return !hasIPv6()
	}
	if a.WithZone("") != b.WithZone("") {
		return false
	}
	zone, err := scopeOf(b.Zone())
	bound0, err0 := scopeOf(a.Zone())
	return err == nil && err0 == nil && zone == bound0
}

// hasIPv6 reports whether this host has IPv6.
func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return !errors.Is(err, unix.EAFNOSUPPORT)
	}
	unix.Close(fd)
	return true
}
