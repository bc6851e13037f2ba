package backend

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"srtrelay/internal/supervise"
)

// Lookup resolves a host name; net.Resolver.LookupNetIP is one.
type Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

const (
	// refreshInterval is how often a name that has an address is looked up again.
	refreshInterval = 30 * time.Second
	// minRetry and maxRetry bound the time, which doubles, between two look-ups
	// of a name without an address.
	minRetry = time.Second
	maxRetry = 15 * time.Second
	// lookupTimeout bounds one look-up: as long as glibc waits for a name server.
	lookupTimeout = 5 * time.Second
	// maxLookups bounds the look-ups under way, each of which holds a socket or
	// a thread. Others wait only if as many names stall.
	maxLookups = 64
	// maxProblem bounds the text that is kept of a resolver's error, in bytes.
	maxProblem = 256
)

const (
	notLookedUp    = "name has not been looked up yet"
	doesNotResolve = "name does not resolve: "
)

// ResolveOptions are the options of ResolveNames.
type ResolveOptions struct {
	Lookup Lookup
	// OnFirst, if not nil, is called once when every name has been looked up
	// for the first time, with or without success.
	OnFirst func()
	// OnMove is called for each backend that gets its first address or another
	// one, OnFail for each whose name begins to give no usable address or fails
	// in another way. Several goroutines may call them.
	OnMove, OnFail func(Backend)
	// Supervisor supervises the look-ups; nil for none.
	Supervisor *supervise.Supervisor
}

// ResolveNames looks up the names of static backends at once and then
// periodically until ctx ends. Each name has its own loop, so that a name server
// that stalls delays no other name.
//
// A backend moves only when its address is no longer among its name's; running
// sessions stay where they are. Nothing moves when a name server is away or gives
// addresses that no backend can have.
func (r *Registry) ResolveNames(ctx context.Context, n ResolveOptions) {
	f := &nameResolver{registry: r, options: n, slots: make(chan struct{}, maxLookups)}
	all := n.Supervisor.Tasks()
	var first sync.WaitGroup
	for _, b := range r.Snapshot().Backends {
		if b.Source != SourceStatic {
			continue
		}
		e, err := parseEndpoint(b.Host)
		if err != nil {
			continue // AddStatic has rejected it
		}
		first.Add(1)
		done := sync.OnceFunc(first.Done)
		all.Loop(ctx, "name look-up", func(ctx context.Context) { f.run(ctx, b.ID, e, done) })
	}
	if n.OnFirst != nil {
		all.Go("first look-ups", func() {
			first.Wait()
			n.OnFirst()
		})
	}
	all.Wait()
}

// nameResolver is the state of one ResolveNames.
type nameResolver struct {
	registry *Registry
	options  ResolveOptions
	slots    chan struct{} // one per look-up under way
}

// run updates the address of one backend. It calls first after the first look-up,
// or when there will be none.
func (f *nameResolver) run(ctx context.Context, id ID, e endpoint, first func()) {
	defer first()
	for retry := minRetry; ; {
		ips, err := f.lookup(ctx, e)
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		if f.apply(id, e, ips, err) {
			retry = minRetry
		} else {
			wait, retry = retry, min(2*retry, maxRetry)
		}
		first()
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// lookup looks up the addresses of an endpoint, once fewer than maxLookups are
// under way.
func (f *nameResolver) lookup(ctx context.Context, e endpoint) ([]netip.Addr, error) {
	if e.ip.IsValid() {
		return []netip.Addr{e.ip}, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case f.slots <- struct{}{}:
	}
	defer func() { <-f.slots }()
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return f.options.Lookup(limited, "ip", e.name)
}

// apply gives a backend the present address of its name, and reports whether it
// has one.
func (f *nameResolver) apply(id ID, e endpoint, ips []netip.Addr, err error) (has bool) {
	before, known := f.registry.Snapshot().Find(id)
	if !known {
		return false
	}
	var usable []netip.AddrPort
	if err == nil {
		usable, err = f.registry.usable(before, e, ips)
	} else {
		err = errors.New(doesNotResolve + reasonOf(err))
	}
	f.registry.update(id, func(b *Backend) {
		switch {
		case err != nil:
			b.Problem = clip(err.Error())
		case slices.Contains(usable, b.Addr):
			b.Problem = ""
		default:
			b.Addr, b.Problem = usable[0], ""
		}
	})
	now, _ := f.registry.Snapshot().Find(id)
	switch {
	case now.Problem != "" && now.Problem != before.Problem:
		f.options.OnFail(now)
	case now.Addr != before.Addr:
		f.options.OnMove(now)
	}
	return now.Addr.IsValid()
}

// usable returns the addresses that a backend can have, at least one, or an error
// that says why there is none. Loopback addresses count only for a name that has
// no other address and never had one: hosts files give them to this host's name,
// and so do name servers that lie.
func (r *Registry) usable(b Backend, e endpoint, ips []netip.Addr) (all []netip.AddrPort, err error) {
	if len(ips) == 0 {
		return nil, errors.New(doesNotResolve + "no address")
	}
	abroad := func(ip netip.Addr) bool { return ip.IsValid() && !ip.IsLoopback() }
	elsewhere := abroad(b.Addr.Addr()) || slices.ContainsFunc(ips, func(ip netip.Addr) bool { return abroad(ip.Unmap()) })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ip := range ips {
		at := e.at(ip)
		refused := r.filter.check(at)
		if refused == nil && elsewhere && at.Addr().IsLoopback() {
			refused = errLoopback
		}
		switch {
		case refused == nil:
			all = append(all, at)
		case err == nil:
			err = fmt.Errorf("name resolves to %s, which %w", at, refused)
			if e.name == "" {
				err = fmt.Errorf("%s %w", at, refused)
			}
		}
	}
	if len(all) > 0 {
		err = nil
	}
	return all, err
}

// reasonOf is a resolver's error without the parts that differ each time, such as
// a source port, so that the same error is reported once.
func reasonOf(err error) string {
	var failed *net.DNSError
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return errno.Error()
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &failed) && failed.IsTimeout:
		return "the name server does not answer"
	case failed != nil:
		return failed.Err
	}
	return err.Error()
}

// clip limits the length of a text from another host.
func clip(text string) string {
	if len(text) > maxProblem {
		return text[:maxProblem] + "..."
	}
	return text
}
