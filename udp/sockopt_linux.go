package udp

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// setUp gives a bound socket the options it has for life, and learns from the
// kernel which of the wanted ones it got.
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
		s.caps.GRO = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}
	if o.GSO {
		// Reading the option succeeds where the kernel knows it; whether the
		// route's device can do it shows only when sending.
		_, err := unix.GetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_SEGMENT)
		s.caps.GSO = err == nil
	}
	s.recv = grow(s.fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, o.RecvBuf)
	s.send = grow(s.fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, o.SendBuf)
	return nil
}

// setRequired sets what the relay cannot do without.
func (s *Socket) setRequired() error {
	type option struct {
		level, name, value int
		what               string
	}
	// Without DF: a peer may send at an MSS that some path of the other leg
	// cannot carry whole, and SRT has no way to learn of it.
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
		// On a dual-stack socket this covers IPv4 peers too, with mapped
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

// grow asks for a buffer of want bytes, past net.core.{r,w}mem_max if the
// process may, and returns what was granted. The kernel keeps and reports twice
// the request (socket(7)).
func grow(fd, option, forced, want int) int {
	granted := func() int {
		n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
		if err != nil {
			return 0
		}
		return n / 2
	}
	if want <= 0 {
		return granted()
	}
	want = min(want, math.MaxInt32/2)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, want)
	if granted() < want {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, forced, want)
	}
	return granted()
}
