package backend

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// The reasons for which no backend may have an address.
var (
	// ErrSelf means that the relay itself listens there: streams would loop.
	ErrSelf = errors.New("is the relay itself")
	// ErrAddress means that the address is not that of one host.
	ErrAddress = errors.New("is not the address of one host")
	// errLoopback means that the relay would reach its own host instead of the
	// backend's.
	errLoopback = errors.New("is a loopback address, learnt from elsewhere")
)

// hostAddrsTTL is how long the host's addresses are cached: reading them costs a
// netlink dump, and a shared store may have thousands of entries to check.
const hostAddrsTTL = time.Second

// addrFilter decides which addresses a backend may have. Every backend passes it,
// whether it comes from the configuration, a name server, a heartbeat or a shared
// store, and again later, because the host's addresses change.
type addrFilter struct {
	own       []netip.AddrPort // where the relay listens
	hostAddrs []netip.Addr     // the host's addresses
	readAt    time.Time        // when locals were read
}

// check returns why no backend may have addr, nil if one may. The zero AddrPort,
// of a backend whose address is not known yet, passes.
func (g *addrFilter) check(addr netip.AddrPort) error {
	switch {
	case !addr.IsValid():
		return nil
	case addr.Port() == 0 || !reachable(addr.Addr(), netip.Addr{}):
		return ErrAddress
	case g.isOwn(addr):
		return ErrSelf
	}
	return nil
}

// isOwn reports whether the relay listens at addr. A wildcard listener has every
// address of the host, and all of loopback.
func (g *addrFilter) isOwn(addr netip.AddrPort) bool {
	return slices.ContainsFunc(g.own, func(own netip.AddrPort) bool {
		return own.Port() == addr.Port() &&
			(own.Addr() == addr.Addr() || own.Addr().IsUnspecified() && g.isLocal(addr.Addr()))
	})
}

func (g *addrFilter) isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	if now := time.Now(); g.readAt.IsZero() || now.Sub(g.readAt) >= hostAddrsTTL {
		g.hostAddrs, g.readAt = readHostAddrs(), now
	}
	return slices.Contains(g.hostAddrs, ip.WithZone(""))
}

// readHostAddrs returns the host's addresses, none if the kernel does not say.
func readHostAddrs() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	ips := make([]netip.Addr, 0, len(all))
	for _, a := range all {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			ips = append(ips, prefix.Addr().Unmap().WithZone(""))
		}
	}
	return ips
}

// Check returns why the registry would refuse a backend, nil if it would not.
func (r *Registry) Check(b Backend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.filter.check(b.Addr)
}

// SetOwnAddrs adds the relay's own listen addresses, which no backend may have. It
// removes backends that have one, except static ones: see FindOwn.
func (r *Registry) SetOwnAddrs(own ...netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.filter.own = append(r.filter.own, own...)
	all := slices.Clone(r.Snapshot().Backends)
	left := slices.DeleteFunc(all, func(b Backend) bool { return b.Source != SourceStatic && r.filter.check(b.Addr) != nil })
	if len(left) < len(r.Snapshot().Backends) {
		r.publish(left)
	}
}

// FindOwn returns a static backend with an address at which the relay itself
// listens, if there is one.
func (r *Registry) FindOwn() (b Backend, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.Snapshot().Backends {
		if b.Source == SourceStatic && b.Addr.IsValid() && r.filter.isOwn(b.Addr) {
			return b, true
		}
	}
	return Backend{}, false
}

// Recheck checks the addresses of all backends again, because the host may have
// got another address, and returns the backends that do not pass any more. It
// removes them; a static address, and a name without another one, stays without an
// address until one passes.
func (r *Registry) Recheck() []Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused, left []Backend
	standIns := make(map[string]Backend) // for names that lose an address
	for _, b := range r.Snapshot().Backends {
		err := r.filter.check(b.Addr)
		if err != nil {
			refused = append(refused, b)
		}
		switch {
		case err == nil:
			left = append(left, b)
		case b.Source == SourceStatic && string(b.ID) == b.Host:
			b.Problem = b.Addr.String() + " " + err.Error()
			b.Addr, b.Down = netip.AddrPort{}, true
			left = append(left, b)
		case b.Source == SourceStatic && !b.Removed:
			standIns[b.Host] = r.standIn(b.Host, b.Addr.String()+" "+err.Error(), b.Added)
		}
	}
	for host, b := range standIns {
		if !slices.ContainsFunc(left, func(b Backend) bool { return b.Host == host }) {
			left = append(left, b)
		}
	}
	if len(refused) > 0 {
		r.publish(left)
	}
	return refused
}
