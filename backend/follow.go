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
	// RefreshEvery is how often a name that has an address is looked up again.
	RefreshEvery = 30 * time.Second
	// firstRetry and lastRetry bound the time, doubling, between two look-ups
	// of a name that has none.
	firstRetry = time.Second
	lastRetry  = 15 * time.Second
	// lookupWait bounds one look-up: as long as glibc waits for a name server.
	lookupWait = 5 * time.Second
	// lookupsAtOnce bounds the look-ups under way, each of which holds a
	// socket or a thread. So many names must stall before others wait.
	lookupsAtOnce = 64
	// maxProblem bounds what is kept, in bytes, of what a resolver says.
	maxProblem = 256
)

const (
	notLookedUp    = "name has not been looked up yet"
	doesNotResolve = "name does not resolve: "
)

// Names says how Follow looks names up and whom it tells.
type Names struct {
	Lookup Lookup
	// Tried, if not nil, is called once when every name has been looked up for
	// the first time, with or without success.
	Tried func()
	// Moved is told of each backend that has another address, or its first
	// one; Failed of each whose name has begun to give no usable address, or
	// to fail in another way. Both may be called by several goroutines.
	Moved, Failed func(Backend)
	// Supervisor supervises the look-ups, nil for nobody.
	Supervisor *supervise.Supervisor
}

// Follow looks the names of static backends up, at once and then again and
// again until ctx ends, each name on its own: one whose name server stalls
// holds up no other.
//
// A backend moves only when its address is no longer among its name's; running
// sessions stay where they are. A name server that is away, or that gives
// addresses at which no backend can be, moves nobody.
func (r *Registry) Follow(ctx context.Context, n Names) {
	f := &follower{registry: r, names: n, turn: make(chan struct{}, lookupsAtOnce)}
	all := n.Supervisor.Tasks()
	var first sync.WaitGroup
	for _, b := range r.Snapshot().Backends {
		if b.Source != Static {
			continue
		}
		e, err := parseEndpoint(b.Host)
		if err != nil {
			continue // AddStatic has refused it
		}
		first.Add(1)
		done := sync.OnceFunc(first.Done)
		all.Loop(ctx, "name look-up", func(ctx context.Context) { f.follow(ctx, b.ID, e, done) })
	}
	if n.Tried != nil {
		all.Go("first look-ups", func() {
			first.Wait()
			n.Tried()
		})
	}
	all.Wait()
}

// follower is one Follow.
type follower struct {
	registry *Registry
	names    Names
	turn     chan struct{} // a place per look-up under way
}

// follow keeps the address of one backend. first is called after the first
// look-up, or when there will be none.
func (f *follower) follow(ctx context.Context, id ID, e endpoint, first func()) {
	defer first()
	for retry := firstRetry; ; {
		ips, err := f.lookup(ctx, e)
		if ctx.Err() != nil {
			return
		}
		wait := RefreshEvery
		if f.settle(id, e, ips, err) {
			retry = firstRetry
		} else {
			wait, retry = retry, min(2*retry, lastRetry)
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

// lookup asks for the addresses of an endpoint as soon as not too many others
// do.
func (f *follower) lookup(ctx context.Context, e endpoint) ([]netip.Addr, error) {
	if e.ip.IsValid() {
		return []netip.Addr{e.ip}, nil
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case f.turn <- struct{}{}:
	}
	defer func() { <-f.turn }()
	limited, cancel := context.WithTimeout(ctx, lookupWait)
	defer cancel()
	return f.names.Lookup(limited, "ip", e.name)
}

// settle gives a backend the address that its name has now, and reports whether
// it has one.
func (f *follower) settle(id ID, e endpoint, ips []netip.Addr, err error) (has bool) {
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
		f.names.Failed(now)
	case now.Addr != before.Addr:
		f.names.Moved(now)
	}
	return now.Addr.IsValid()
}

// usable returns the addresses at which a backend can be, at least one, or the
// error that says why there is none. Loopback ones count only for a name that
// has no others and has never had: hosts files name this machine so, and so do
// name servers that lie.
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
		refused := r.gate.check(at)
		if refused == nil && elsewhere && at.Addr().IsLoopback() {
			refused = ErrLoopback
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

// reasonOf is a resolver's error without what differs each time, such as the
// port that was asked from: one that stays the same is told once.
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

// clip cuts what others have said to a bounded length.
func clip(text string) string {
	if len(text) > maxProblem {
		return text[:maxProblem] + "..."
	}
	return text
}
