//go:build linux

package socket

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Address is a socket address in the kernel's form.
type Address struct {
	raw [unix.SizeofSockaddrInet6]byte
	len uint32
}

// AddressOf converts; IPv4 stays IPv4.
func AddressOf(ap netip.AddrPort) (a Address) {
	port := ap.Port()
	if ip := ap.Addr().Unmap(); ip.Is4() {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(&a.raw))
		sa.Family, sa.Addr = unix.AF_INET, ip.As4()
		binary.BigEndian.PutUint16(a.raw[2:], port)
		a.len = unix.SizeofSockaddrInet4
		return a
	}
	sa := (*unix.RawSockaddrInet6)(unsafe.Pointer(&a.raw))
	sa.Family, sa.Addr = unix.AF_INET6, ap.Addr().As16()
	binary.BigEndian.PutUint16(a.raw[2:], port)
	a.len = unix.SizeofSockaddrInet6
	return a
}

// AddrPort converts back.
func (a *Address) AddrPort() netip.AddrPort {
	port := binary.BigEndian.Uint16(a.raw[2:])
	if binary.NativeEndian.Uint16(a.raw[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.raw[4:8])), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(a.raw[8:24])).Unmap(), port)
}

// Options of a socket.
type Options struct {
	// Local is where it is bound; an invalid one leaves that to the kernel.
	Local netip.AddrPort
	// Remote, if valid, is the address to which it is connected.
	Remote netip.AddrPort
	// Buffer is the wanted size of both buffers; the kernel may give less.
	Buffer int
	// Segment, if positive, is the size of the datagrams that a longer message is sent as:
	// they leave as one train (UDP_SEGMENT).
	Segment int
	// GRO lets the kernel deliver several datagrams of a flow as one.
	GRO bool
}

// Open opens a non-blocking UDP socket whose datagrams are stamped on arrival.
func Open(o Options) (fd int, err error) {
	family := unix.AF_INET
	if ip := o.any(); ip.Is6() && !ip.Is4In6() {
		family = unix.AF_INET6
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, fmt.Errorf("open socket: %w", os.NewSyscallError("socket", err))
	}
	if err := o.apply(fd); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (o Options) any() netip.Addr {
	if o.Local.IsValid() {
		return o.Local.Addr()
	}
	return o.Remote.Addr()
}

func (o Options) apply(fd int) error {
	// Root may have more than net.core.rmem_max.
	for _, opt := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[0], o.Buffer) == nil {
			continue
		}
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, opt[1], o.Buffer); err != nil {
			return fmt.Errorf("set socket buffer: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1); err != nil {
		return fmt.Errorf("ask for arrival times: %w", os.NewSyscallError("setsockopt", err))
	}
	if o.GRO {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1); err != nil {
			return fmt.Errorf("switch GRO on: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	if o.Segment > 0 {
		if err := unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT, o.Segment); err != nil {
			return fmt.Errorf("switch GSO on: %w", os.NewSyscallError("setsockopt", err))
		}
	}
	if o.Local.IsValid() {
		if err := unix.Bind(fd, sockaddr(o.Local)); err != nil {
			return fmt.Errorf("bind to %s: %w", o.Local, os.NewSyscallError("bind", err))
		}
	}
	if o.Remote.IsValid() {
		if err := unix.Connect(fd, sockaddr(o.Remote)); err != nil {
			return fmt.Errorf("connect to %s: %w", o.Remote, os.NewSyscallError("connect", err))
		}
	}
	return nil
}

func sockaddr(ap netip.AddrPort) unix.Sockaddr {
	if ip := ap.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
}

// Local is the address that a socket is bound to.
func Local(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("read local address: %w", os.NewSyscallError("getsockname", err))
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, fmt.Errorf("read local address: family of %T is not IP", sa)
}

// Raise raises this process's limit of open files to the hard limit and returns it.
func Raise() uint64 {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	l.Cur = l.Max
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &l)
	return l.Cur
}
