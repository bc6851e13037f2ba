package srttest

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// bufferSize is larger than any UDP payload on a path with an MTU of 1500, so
// that a datagram is never cut.
const bufferSize = 2048

// socketBuffer holds about 180 ms of 20,000 packets/s, as the kernel charges
// some 2300 bytes for a packet of 1316.
const socketBuffer = 8 << 20

// open binds a UDP socket of exactly one address family, so that addresses
// read from it are never IPv4-mapped.
func open(local netip.AddrPort) (*net.UDPConn, error) {
	conn, err := net.ListenUDP(network(local), net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, fmt.Errorf("open %v: %w", local, err)
	}
	if err := enlarge(conn); err != nil {
		shut(conn)
		return nil, fmt.Errorf("enlarge buffers of %v: %w", local, err)
	}
	return conn, nil
}

// shut closes a socket: nobody listens there when it returns. A child has a copy of every
// descriptor from its fork until it executes its program, and the parent goes on a moment before
// that. So nothing forks, and the address is awaited, unless that of another namespace.
func shut(conn *net.UDPConn) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	local := localAddr(conn)
	err := conn.Close()
	for end := time.Now().Add(time.Second); err == nil && busy(local) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return err
}

// busy reports whether another socket has an address. Of an address that this network
// namespace does not have, it does not know any.
func busy(local netip.AddrPort) bool {
	conn, err := net.ListenUDP(network(local), net.UDPAddrFromAddrPort(local))
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.EADDRINUSE)
}

func network(a netip.AddrPort) string {
	if a.Addr().Unmap().Is4() {
		return "udp4"
	}
	return "udp6"
}

// enlarge asks for big buffers: by force where the process may, else as far as
// net.core.rmem_max lets it.
func enlarge(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	forced := false
	err = raw.Control(func(fd uintptr) { forced = forceBuffers(int(fd), socketBuffer) })
	if err != nil || forced {
		return err
	}
	return errors.Join(conn.SetReadBuffer(socketBuffer), conn.SetWriteBuffer(socketBuffer))
}

func localAddr(conn *net.UDPConn) netip.AddrPort {
	return conn.LocalAddr().(*net.UDPAddr).AddrPort()
}

// receive calls each for every datagram until conn is closed. The bytes are
// valid until each returns. Other errors are an ICMP echo of what was sent
// before, and end nothing.
func receive(conn *net.UDPConn, each func(from netip.AddrPort, b []byte)) {
	buf := make([]byte, bufferSize)
	for {
		n, from, err := conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil:
			each(from, buf[:n])
		}
	}
}

// packets lends the buffers in which outgoing packets are built.
var packets = sync.Pool{New: func() any { return new([bufferSize]byte) }}
