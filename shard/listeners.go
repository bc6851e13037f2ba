package shard

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"srtrelay/udp"
)

// placeListeners opens the listen addresses that are not among the adopted ones, and returns
// which of all listeners are retired: the configuration no longer names them. A listener keeps
// its index, by which sessions find it; a new one takes the first that is free.
func (a *adopted) placeListeners(c *Config) (retired []bool, err error) {
	places := matchListeners(a.bound(), c.Listen)
	for i, ap := range c.Listen {
		if places[i] >= 0 {
			continue
		}
		group, err := udp.OpenFront(ap, c.Shards, c.Sockets)
		if err != nil {
			return nil, a.explain(err, ap)
		}
		places[i] = slices.IndexFunc(a.fronts, func(group []*udp.Socket) bool { return group == nil })
		if places[i] < 0 {
			places[i] = len(a.fronts)
			a.fronts = append(a.fronts, nil)
		}
		a.fronts[places[i]] = group
	}
	if len(a.fronts) > endpointLimit {
		return nil, fmt.Errorf("at most %d listeners, not %d with those that are retired", endpointLimit, len(a.fronts))
	}
	retired = make([]bool, len(a.fronts))
	for i, group := range a.fronts {
		retired[i] = group != nil && !slices.Contains(places, i)
	}
	return retired, nil
}

// explain adds to the error of a listen address which adopted listener has its port. That one
// stays open for its sessions: only a restart can replace it.
func (a *adopted) explain(err error, ap netip.AddrPort) error {
	for _, at := range a.bound() {
		if errors.Is(err, syscall.EADDRINUSE) && at.IsValid() && at.Port() == ap.Port() {
			return fmt.Errorf("%w by the sessions of %s; this change needs a restart", err, at)
		}
	}
	return err
}

// bound returns the address of each listener, the zero value where there is none.
func (a *adopted) bound() []netip.AddrPort {
	all := make([]netip.AddrPort, len(a.fronts))
	for i, group := range a.fronts {
		if group != nil {
			all[i] = group[0].Local()
		}
	}
	return all
}

// matchListeners returns which of the bound addresses serves each listen address, -1 for
// none. A listen address with port 0 takes what no other does.
func matchListeners(bound, listen []netip.AddrPort) (places []int) {
	places = slices.Repeat([]int{-1}, len(listen))
	for _, anyPort := range []bool{false, true} {
		for i, want := range listen {
			if (want.Port() == 0) != anyPort {
				continue
			}
			places[i] = slices.IndexFunc(bound, func(at netip.AddrPort) bool {
				return at.IsValid() && udp.Serves(at, want)
			})
			if places[i] >= 0 {
				bound[places[i]] = netip.AddrPort{}
			}
		}
	}
	return places
}

// closeUnused closes the sockets of the retired listeners without a session in any shard.
// The loops must not run: the sockets of a listener are closed together, because the kernel
// would give the flows of one that is missing to the others.
func (g *Group) closeUnused() {
	fronts := g.shards[0].fronts
	if !slices.ContainsFunc(fronts, func(ep endpoint) bool { return ep.retired }) {
		return
	}
	used := make([]bool, len(fronts))
	for _, s := range g.shards {
		s.sessions.each(func(_ uint32, ss *session) { used[ss.front] = true })
	}
	for i := range fronts {
		if !fronts[i].retired || used[i] {
			continue
		}
		for _, s := range g.shards {
			_ = s.fronts[i].sock.Close()
			s.fronts[i].closed = true
		}
		g.fronts[i] = netip.AddrPort{}
	}
}
