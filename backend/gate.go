package backend

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Why no backend may be at an address.
var (
	// ErrSelf says that the relay itself listens there: streams would run in
	// circles.
	ErrSelf = errors.New("is the relay itself")
	// ErrAddress says that no single host can be meant.
	ErrAddress = errors.New("is not the address of one host")
	// ErrLoopback says that the relay would reach itself instead of the host
	// that is meant.
	ErrLoopback = errors.New("is a loopback address, learnt from elsewhere")
)

// localsFor is how long the machine's addresses are taken as they were: asking
// the kernel costs a netlink dump, and entries of a shared store come by the
// thousand.
const localsFor = time.Second

// gate decides at which addresses a backend may be. Every backend passes it,
// whether it comes from the configuration, a name server, a heartbeat or a
// shared store, and again while it is known: a host's addresses change.
type gate struct {
	own    []netip.AddrPort // where the relay listens
	locals []netip.Addr     // the machine's addresses
	asked  time.Time        // when locals were read
}

// check says why no backend may be at addr, nil if one may. The zero AddrPort,
// of a backend whose address is not known yet, passes.
func (g *gate) check(addr netip.AddrPort) error {
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

// isOwn reports whether the relay listens at addr. A wildcard listener is at
// every address of the machine, and at all of loopback.
func (g *gate) isOwn(addr netip.AddrPort) bool {
	return slices.ContainsFunc(g.own, func(own netip.AddrPort) bool {
		return own.Port() == addr.Port() &&
			(own.Addr() == addr.Addr() || own.Addr().IsUnspecified() && g.isLocal(addr.Addr()))
	})
}

func (g *gate) isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	if now := time.Now(); g.asked.IsZero() || now.Sub(g.asked) >= localsFor {
		g.locals, g.asked = localAddrs(), now
	}
	return slices.Contains(g.locals, ip.WithZone(""))
}

// localAddrs returns the machine's addresses, none if the kernel does not say.
func localAddrs() []netip.Addr {
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

// Check says why a backend may not be put in, nil if it may.
func (r *Registry) Check(b Backend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.gate.check(b.Addr)
}

// Reserve names the relay's own listen addresses, at which no backend may be.
// Backends there that were learnt before are forgotten, but for static ones:
// see Own.
func (r *Registry) Reserve(own ...netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate.own = append(r.gate.own, own...)
	all := slices.Clone(r.Snapshot().Backends)
	left := slices.DeleteFunc(all, func(b Backend) bool { return b.Source != Static && r.gate.check(b.Addr) != nil })
	if len(left) < len(r.Snapshot().Backends) {
		r.publish(left)
	}
}

// Own returns a static backend at which the relay itself listens, if there is
// one.
func (r *Registry) Own() (b Backend, found bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, b := range r.Snapshot().Backends {
		if b.Source == Static && b.Addr.IsValid() && r.gate.isOwn(b.Addr) {
			return b, true
		}
	}
	return Backend{}, false
}

// Recheck holds all backends against the gate once more, for the machine may
// have been given another address since, and returns those that no longer
// pass. They are forgotten; a static one stays without its address, until a
// look-up finds one that passes.
func (r *Registry) Recheck() []Backend {
	r.mu.Lock()
	defer r.mu.Unlock()
	var refused, left []Backend
	for _, b := range r.Snapshot().Backends {
		err := r.gate.check(b.Addr)
		if err != nil {
			refused = append(refused, b)
		}
		switch {
		case err == nil:
			left = append(left, b)
		case b.Source == Static:
			b.Problem = b.Addr.String() + " " + err.Error()
			b.Addr, b.Down = netip.AddrPort{}, true
			left = append(left, b)
		}
	}
	if len(refused) > 0 {
		r.publish(left)
	}
	return refused
}
