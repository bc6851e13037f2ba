package udp

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// sockaddr has room for an address of either family.
type sockaddr = unix.RawSockaddrInet6

// putSockaddr writes a in the form of the socket's family: an AF_INET6 socket
// takes IPv4 addresses in mapped form, as a holds them.
func putSockaddr(sa *sockaddr, a *addr.AddrPort, is4 bool) {
	if is4 {
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		sa4.Family = unix.AF_INET
		putPort(&sa4.Port, a.Port)
		sa4.Addr = [4]byte(a.IP[12:])
		return
	}
	sa.Family = unix.AF_INET6
	putPort(&sa.Port, a.Port)
	sa.Addr = a.IP
	sa.Scope_id = a.Zone
}

// sockaddrLen is the length of what putSockaddr writes.
func sockaddrLen(is4 bool) uint32 {
	if is4 {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// getSockaddr reads an address of either family that the kernel wrote. For any
// other family it returns the zero address.
func getSockaddr(sa *sockaddr) (a addr.AddrPort) {
	switch sa.Family {
	case unix.AF_INET:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		a.Port = getPort(&sa4.Port)
		a.IP = mapped(sa4.Addr)
	case unix.AF_INET6:
		a.Port = getPort(&sa.Port)
		a.IP = sa.Addr
		a.Zone = sa.Scope_id
	}
	return a
}

// mapped is an IPv4 address in mapped form, as package addr holds it.
func mapped(ip [4]byte) (m addr.IP) {
	m[10], m[11] = 0xFF, 0xFF
	copy(m[12:], ip[:])
	return m
}

// Ports are big-endian in memory, whatever the host's order.

func putPort(field *uint16, port uint16) {
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(field))[:], port)
}

func getPort(field *uint16) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(field))[:])
}
