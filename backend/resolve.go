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

// LookupSRV returns the SRV records of a name; net.Resolver.LookupSRV is one.
type LookupSRV func(ctx context.Context, service, proto, name string) (cname string, records []*net.SRV, err error)

const (
	// refreshInterval is how often a name that has an address is looked up again.
	// Go's resolver does not tell the TTL of records.
	refreshInterval = 10 * time.Second
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
	Lookup    Lookup
	LookupSRV LookupSRV
	// OnFirst, if not nil, is called once when every name has been looked up
	// for the first time, with or without success.
	OnFirst func()
	// OnFound is called for each backend that a name's answer adds, OnLeft for
	// each whose address the name has no more, and OnFail when a look-up begins to
	// fail or fails in another way; kept is how many addresses the name has from
	// before. Several goroutines may call them.
	OnFound, OnLeft func(Backend)
	OnFail          func(host, problem string, kept int)
	// Supervisor supervises the look-ups; nil for none.
	Supervisor *supervise.Supervisor
}

// ResolveNames looks up the names of the configuration at once and then periodically
// until ctx ends. Each name has its own loop, so that a name server that stalls delays
// no other name. It follows SetStatic.
//
// Nothing changes while a name server is away or gives only addresses that no backend
// can have. A backend whose address is not in an answer any more keeps its streams, and
// gets new ones only if there is no other: a lie costs nothing but probes.
func (r *Registry) ResolveNames(ctx context.Context, n ResolveOptions) {
	f := &nameResolver{registry: r, options: n, slots: make(chan struct{}, maxLookups)}
	all := n.Supervisor.Tasks()
	defer all.Wait()
	ctx, end := context.WithCancel(ctx)
	defer end() // before Wait: after a panic the loops must end too
	loops := make(map[string]context.CancelFunc)
	var first sync.WaitGroup
	f.followHosts(ctx, all, loops, &first)
	if n.OnFirst != nil {
		all.Go("first look-ups", func() {
			first.Wait()
			n.OnFirst()
		})
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.hostsChanged:
			f.followHosts(ctx, all, loops, new(sync.WaitGroup))
		}
	}
}

// followHosts starts the loops of new names and ends those of names that were removed.
// first counts the new names that have not been looked up yet.
func (f *nameResolver) followHosts(ctx context.Context, all *supervise.Tasks, loops map[string]context.CancelFunc, first *sync.WaitGroup) {
	hosts := f.registry.staticHosts()
	for host, end := range loops {
		if !slices.Contains(hosts, host) {
			end()
			delete(loops, host)
		}
	}
	for _, host := range hosts {
		e, err := parseEndpoint(host)
		if _, running := loops[host]; running || err != nil { // AddStatic has rejected a wrong one
			continue
		}
		first.Add(1)
		done := sync.OnceFunc(first.Done)
		one := &nameLoop{nameResolver: f, host: host, endpoint: e, targets: make(map[string][]foundAt)}
		hostCtx, end := context.WithCancel(ctx)
		loops[host] = end
		all.Loop(hostCtx, "name look-up", func(ctx context.Context) { one.run(ctx, done) })
	}
}

// nameResolver is the state of one ResolveNames.
type nameResolver struct {
	registry *Registry
	options  ResolveOptions
	slots    chan struct{} // one per look-up under way
}

// nameLoop follows one name, or the one address that stands in its place. It belongs to
// its goroutine.
type nameLoop struct {
	*nameResolver
	host string
	endpoint
	// targets are the addresses of the targets of SRV records, as last found.
	targets map[string][]foundAt
}

// run keeps the backends of a name up to date. It calls first after the first look-up,
// or when there will be none.
func (l *nameLoop) run(ctx context.Context, first func()) {
	defer first()
	for retry := minRetry; ; {
		found, err := l.find(ctx)
		if ctx.Err() != nil {
			return
		}
		wait := refreshInterval
		if l.apply(found, err) {
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

// find returns the addresses that the name has now, at least one, or an error that says
// why there is none.
func (l *nameLoop) find(ctx context.Context) ([]foundAt, error) {
	switch {
	case l.ip.IsValid():
		return l.usable([]netip.Addr{l.ip}, l.port)
	case l.port == 0:
		return l.findSRV(ctx)
	}
	return l.findAddrs(ctx, l.name, l.port)
}

// findAddrs looks up the addresses of a name.
func (l *nameLoop) findAddrs(ctx context.Context, name string, port uint16) ([]foundAt, error) {
	var ips []netip.Addr
	err := l.ask(ctx, func(ctx context.Context) (err error) {
		ips, err = l.options.Lookup(ctx, "ip", name)
		return err
	})
	if err != nil {
		return nil, errors.New(doesNotResolve + reasonOf(err))
	}
	return l.usable(ips, port)
}

// ask makes a look-up, once fewer than maxLookups are under way.
func (f *nameResolver) ask(ctx context.Context, lookUp func(context.Context) error) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case f.slots <- struct{}{}:
	}
	defer func() { <-f.slots }()
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	return lookUp(limited)
}

// apply gives a name the backends at the addresses found. It reports whether the name
// has any.
func (l *nameLoop) apply(found []foundAt, err error) (has bool) {
	if err == nil && l.ip.IsValid() {
		l.registry.update(ID(l.host), func(b *Backend) { b.Addr, b.Problem = found[0].addr, "" })
		return true
	}
	problem := ""
	if err != nil {
		problem = clip(err.Error())
	} else {
		came, left, over := l.registry.follow(l.host, found, time.Now())
		for _, b := range came {
			l.options.OnFound(b)
		}
		for _, b := range left {
			l.options.OnLeft(b)
		}
		if over > 0 {
			problem = fmt.Sprintf("%d addresses are left out: names have more than %d together", over, maxFollowed)
		}
	}
	kept, news := l.registry.noteProblem(l.host, problem, time.Now())
	if news && problem != "" {
		l.options.OnFail(l.host, problem, kept)
	}
	return err == nil || kept > 0
}

// usable returns those of a name's addresses that a backend can have, at least one, or
// an error that says why there is none. Of a name with addresses of both families it
// uses one, as each server has both: that of the addresses in use, or of the first one,
// which the resolver puts where this host can reach it (RFC 6724).
//
// Loopback addresses count only for a name that has no other address and never had one:
// hosts files give them to this host's name, and so do name servers that lie.
func (l *nameLoop) usable(ips []netip.Addr, port uint16) (all []foundAt, err error) {
	if len(ips) == 0 {
		return nil, errors.New(doesNotResolve + "no address")
	}
	inUse := l.registry.addrsOf(l.host)
	abroad := func(ip netip.Addr) bool { return ip.IsValid() && !ip.IsLoopback() }
	elsewhere := slices.ContainsFunc(inUse, func(at netip.AddrPort) bool { return abroad(at.Addr()) }) ||
		slices.ContainsFunc(ips, func(ip netip.Addr) bool { return abroad(ip.Unmap()) })
	for _, ip := range ips {
		at := endpoint{port: port}.at(ip)
		refused := l.registry.Check(Backend{Addr: at})
		if refused == nil && elsewhere && at.Addr().IsLoopback() {
			refused = errLoopback
		}
		switch {
		case refused == nil:
			all = append(all, foundAt{addr: at})
		case err == nil && l.ip.IsValid():
			err = fmt.Errorf("%s %w", at, refused)
		case err == nil:
			err = fmt.Errorf("name resolves to %s, which %w", at, refused)
		}
	}
	if len(all) == 0 {
		return nil, err
	}
	return oneFamily(all, inUse), nil
}

// oneFamily returns the addresses of one family.
func oneFamily(all []foundAt, inUse []netip.AddrPort) []foundAt {
	is4 := all[0].addr.Addr().Is4()
	for _, f := range all {
		if slices.Contains(inUse, f.addr) {
			is4 = f.addr.Addr().Is4()
			break
		}
	}
	return slices.DeleteFunc(all, func(f foundAt) bool { return f.addr.Addr().Is4() != is4 })
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
