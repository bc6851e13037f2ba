package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"

	"github.com/libp2p/go-reuseport"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// portAttempts bounds how often a group on port 0 tries another port after
// another process took the one just found free.
const portAttempts = 8

// OpenFront opens a group of n sockets that share ap by SO_REUSEPORT: the
// kernel gives every flow to one of them as long as the group keeps its members.
// It opens all n or none. Port 0 means any free port, the same for all.
//
// [::] means all addresses of both families, or 0.0.0.0 on a host without
// IPv6. A socket bound to an unspecified address receives the local address of
// each datagram (Datagram.Local).
func OpenFront(ap netip.AddrPort, n int, o Options) ([]*Socket, error) {
	if n <= 0 {
		return nil, fmt.Errorf("listen udp %s: a group of %d sockets", ap, n)
	}
	group, err := openGroup(ap, n, o)
	if ap.Addr() == netip.IPv6Unspecified() && errors.Is(err, unix.EAFNOSUPPORT) {
		return openGroup(netip.AddrPortFrom(netip.IPv4Unspecified(), ap.Port()), n, o)
	}
	return group, err
}

func openGroup(ap netip.AddrPort, n int, o Options) ([]*Socket, error) {
	for attempt := 1; ; attempt++ {
		free, err := provePortFree(ap)
		if err != nil {
			return nil, fmt.Errorf("listen udp %s: %w", ap, err)
		}
		group, err := openMembers(free, n, o)
		if ap.Port() == 0 && errors.Is(err, unix.EADDRINUSE) && attempt < portAttempts {
			continue
		}
		return group, err
	}
}

// provePortFree binds ap without SO_REUSEPORT, unbinds it again, and returns ap
// with the port it got. With SO_REUSEPORT alone a second relay of the same user
// could join the group and take some of its flows, and a group that asks for
// port 0 could get the port of another group.
func provePortFree(ap netip.AddrPort) (netip.AddrPort, error) {
	fd, err := unix.Socket(family(ap.Addr()), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return ap, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := bind(fd, ap, ap.Addr() != netip.IPv6Unspecified()); err != nil {
		return ap, err
	}
	bound, err := localOf(fd)
	return netip.AddrPortFrom(ap.Addr(), bound.Port()), err
}

func openMembers(ap netip.AddrPort, n int, o Options) (group []*Socket, err error) {
	defer func() {
		if err != nil {
			for _, s := range group {
				s.Close()
			}
			group = nil
		}
	}()
	for range n {
		fd, err := reusePort(ap)
		if err != nil {
			return group, err
		}
		s := &Socket{fd: fd}
		group = append(group, s)
		if err := s.setUp(o); err != nil {
			return group, fmt.Errorf("listen udp %s: %w", ap, err)
		}
	}
	if len(o.Steer) > 0 {
		if err := steerByCPU(group, o.Steer); err != nil {
			return group, fmt.Errorf("listen udp %s: %w", ap, err)
		}
	}
	return group, nil
}

// reusePort opens one member of the group on ap. It takes a descriptor that the
// runtime's network poller does not watch: otherwise every datagram would wake
// that poller, for a socket that is not read through it.
func reusePort(ap netip.AddrPort) (int, error) {
	conn, err := reuseport.ListenPacket(network(ap.Addr()), ap.String())
	if err != nil {
		return closedFD, err
	}
	defer conn.Close()
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		return closedFD, fmt.Errorf("listen udp %s: %w", ap, err)
	}
	fd, dupErr := closedFD, error(nil)
	err = raw.Control(func(original uintptr) {
		fd, dupErr = unix.FcntlInt(original, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err = errors.Join(err, os.NewSyscallError("fcntl", dupErr)); err != nil {
		return closedFD, fmt.Errorf("listen udp %s: %w", ap, err)
	}
	// go-reuseport also sets SO_REUSEADDR, which would let a socket of any user
	// with SO_REUSEADDR bind the same UDP port. The group does not need it.
	if err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0); err != nil {
		unix.Close(fd)
		return closedFD, fmt.Errorf("listen udp %s: SO_REUSEADDR: %w", ap, err)
	}
	return fd, nil
}

// network is the name of ip's network for package net: only "udp" makes the
// IPv6 wildcard dual-stack.
func network(ip netip.Addr) string {
	switch {
	case ip == netip.IPv6Unspecified():
		return "udp"
	case ip.Is4():
		return "udp4"
	default:
		return "udp6"
	}
}

// OpenBack opens a socket on an ephemeral port of its own, for one family: that
// of ip, which is usually unspecified. The kernel keeps the ICMP errors for what
// the socket sent until ReadErrors.
func OpenBack(ip netip.Addr, o Options) (*Socket, error) {
	fd, err := openReserved(func() (int, error) {
		fd, err := unix.Socket(family(ip), unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
		return fd, os.NewSyscallError("socket", err)
	})
	if err != nil {
		return nil, fmt.Errorf("open udp %s: %w", ip, err)
	}
	s := &Socket{fd: fd, refusals: newErrorReader()}
	err = bind(fd, netip.AddrPortFrom(ip, 0), true)
	if err == nil {
		err = s.setUp(o)
	}
	if err != nil {
		s.Close()
		return nil, fmt.Errorf("open udp %s: %w", ip, err)
	}
	return s, nil
}

func family(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// bind binds fd to ap; only6 keeps IPv4 out of an IPv6 socket.
func bind(fd int, ap netip.AddrPort, only6 bool) error {
	if ap.Addr().Is4() {
		sa := &unix.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
		return unix.Bind(fd, sa)
	}
	v6only := 0
	if only6 {
		v6only = 1
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, v6only); err != nil {
		return os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
	}
	scope, err := scopeOf(ap.Addr().Zone())
	if err != nil {
		return err
	}
	sa := &unix.SockaddrInet6{Port: int(ap.Port()), ZoneId: scope, Addr: ap.Addr().As16()}
	return unix.Bind(fd, sa)
}

// scopeOf is the interface index of a zone, which may be a name or a number.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if index, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(index), nil
	}
	device, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, err
	}
	return uint32(device.Index), nil
}

// localOf is the address fd is bound to.
func localOf(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), nil
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr)
		if sa.ZoneId != 0 {
			ip = ip.WithZone(strconv.FormatUint(uint64(sa.ZoneId), 10))
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port)), nil
	}
	return netip.AddrPort{}, syscall.EAFNOSUPPORT
}

// byFlow is what a steering program returns for any other CPU: an index beyond
// the group, for which the kernel falls back to the flow hash
// (reuseport_select_sock).
const byFlow = 1<<32 - 1

// steerByCPU attaches the program for Options.Steer (SO_ATTACH_REUSEPORT_CBPF,
// Linux 4.5).
func steerByCPU(group []*Socket, cpus []int) error {
	program, err := bpf.Assemble(steering(cpus))
	if err != nil {
		return fmt.Errorf("steer by CPU: %w", err)
	}
	filter := make([]unix.SockFilter, len(program))
	for i, in := range program {
		filter[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	// The program is the group's: any member may attach it.
	err = unix.SetsockoptSockFprog(group[0].fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	if err != nil {
		return fmt.Errorf("steer by CPU: %w", os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", err))
	}
	return nil
}

// steering is a program that returns the index in cpus of the CPU it runs on.
func steering(cpus []int) []bpf.Instruction {
	program := []bpf.Instruction{bpf.LoadExtension{Num: bpf.ExtCPUID}}
	for i, cpu := range cpus {
		program = append(program,
			bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(cpu), SkipTrue: 1},
			bpf.RetConstant{Val: uint32(i)})
	}
	return append(program, bpf.RetConstant{Val: byFlow})
}
