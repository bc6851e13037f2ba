package kernelpath

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"srtrelay/addr"
)

// ipsec is the host's IPsec policies (XFRM). The program's redirects pass them by: what
// one is for would leave in the clear, and be accepted in the clear. So it stays in user
// space.
type ipsec struct {
	handle   *netlink.Handle // nil on a kernel without IPsec
	notices  *nl.NetlinkSocket
	policies atomic.Pointer[[]policy]
}

// policy is what the path must know of one.
type policy struct {
	dir      netlink.Dir
	priority int
	from, to netip.Prefix
	// demands says that it does more than to let datagrams pass, whole that it is about
	// all of them between its ends.
	demands, whole bool
}

// open reads the policies, and has the kernel report changes from now on.
func (s *ipsec) open() (err error) {
	s.policies.Store(&[]policy{})
	s.notices, err = nl.Subscribe(unix.NETLINK_XFRM, nl.XFRMNLGRP_POLICY)
	if errors.Is(err, unix.EPROTONOSUPPORT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow changes of IPsec policies: %w", err)
	}
	if s.handle, err = netlink.NewHandle(unix.NETLINK_XFRM); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	_, err = s.refresh()
	return err
}

// refresh reads the policies, and reports whether they have changed.
func (s *ipsec) refresh() (changed bool, err error) {
	if s.handle == nil {
		return false, nil
	}
	now := []policy{}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		all, err := s.handle.XfrmPolicyList(family)
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return false, fmt.Errorf("list IPsec policies: %w", err)
		}
		for i := range all {
			if p := &all[i]; p.Proto == 0 || p.Proto == unix.IPPROTO_UDP {
				now = append(now, policy{
					dir: p.Dir, priority: p.Priority, from: prefixOf(p.Src, family), to: prefixOf(p.Dst, family),
					demands: p.Action != netlink.XFRM_POLICY_ALLOW || len(p.Tmpls) > 0,
					whole:   p.SrcPort == 0 && p.DstPort == 0 && p.Mark == nil && p.Ifindex == 0,
				})
			}
		}
	}
	// The first one that selects a datagram holds.
	slices.SortStableFunc(now, func(a, b policy) int { return cmp.Compare(a.priority, b.priority) })
	old := s.policies.Swap(&now)
	return !slices.Equal(*old, now), nil
}

// prefixOf converts a network of a policy. The library takes an IPv6 network whose last 96
// bits are zero for one of IPv4, and loses how long its prefix is if that is over 32.
func prefixOf(n *net.IPNet, family int) netip.Prefix {
	bits, _ := n.Mask.Size()
	v4 := n.IP.To4()
	switch {
	case family == unix.AF_INET:
		return netip.PrefixFrom(netip.AddrFrom4([4]byte(v4)), bits)
	case v4 != nil:
		if n.Mask == nil {
			bits = 32
		}
		var ip [16]byte
		copy(ip[:], v4)
		return netip.PrefixFrom(netip.AddrFrom16(ip), bits)
	}
	return netip.PrefixFrom(netip.AddrFrom16([16]byte(n.IP)), bits)
}

// applies reports whether a policy demands more than to let datagrams between an address
// of this host and a peer pass, in either direction.
func (s *ipsec) applies(local, peer addr.IP) bool {
	return s.demands(netlink.XFRM_DIR_OUT, local.Netip(), peer.Netip()) ||
		s.demands(netlink.XFRM_DIR_IN, peer.Netip(), local.Netip())
}

func (s *ipsec) demands(dir netlink.Dir, from, to netip.Addr) bool {
	for _, p := range *s.policies.Load() {
		if p.dir != dir || !p.from.Contains(from) || !p.to.Contains(to) {
			continue
		}
		if p.demands {
			return true
		}
		if p.whole {
			return false
		}
	}
	return false
}

func (s *ipsec) close() {
	if s.notices != nil {
		s.notices.Close()
	}
	if s.handle != nil {
		s.handle.Close()
	}
}
