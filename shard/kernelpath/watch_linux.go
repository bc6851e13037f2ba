package kernelpath

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// settle is for how long nothing must change before routes are resolved again, and
	// settleMost how long that is put off.
	settle     = 50 * time.Millisecond
	settleMost = 500 * time.Millisecond
	// recheck is how often the hooks are looked at though nothing has been reported: an
	// operator may have detached the program.
	recheck = 10 * time.Second
)

// changeGroups are the kernel's notices of what a route depends on.
var changeGroups = []uint{
	unix.RTNLGRP_LINK, unix.RTNLGRP_NEXTHOP,
	unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV4_RULE,
	unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_IPV6_RULE,
}

// notices are the kernel's reports of changes.
type notices struct{ socket *nl.NetlinkSocket }

// open has the kernel report changes from now on.
func (n *notices) open() (err error) {
	if n.socket, err = nl.Subscribe(unix.NETLINK_ROUTE, changeGroups...); err != nil {
		return fmt.Errorf("follow changes of routes: %w", err)
	}
	return nil
}

func (n *notices) close() {
	if n.socket != nil {
		n.socket.Close()
	}
}

// Follow follows the changes of devices, addresses, routes, rules and IPsec policies until
// ctx ends. At each it has all datagrams go up, calls reroute, which is to call
// Shard.Update for every session, and then lets datagrams pass again. At first it calls
// reroute alone: the sessions may have been another process's.
func (p *Path) Follow(ctx context.Context, reroute func(context.Context) error) {
	changed := make(chan struct{}, 1)
	receiver := p.cfg.Supervisor.Tasks()
	receiver.Go("notices of routes", func() { receiveNotices(ctx, p.notices.socket, changed) })
	if p.ipsec.notices != nil {
		receiver.Go("notices of IPsec policies", func() { receiveNotices(ctx, p.ipsec.notices, changed) })
	}
	defer func() {
		p.notices.close()
		p.ipsec.close()
		receiver.Wait()
	}()
	again, small := time.NewTicker(recheck), time.NewTicker(tooBigEvery)
	defer again.Stop()
	defer small.Stop()
	var tooBig tooBig
	tooBig.read()
	p.freeze.handle(ctx, func(ctx context.Context) { p.onStart(ctx, changed, reroute) })
	for {
		handle := func(ctx context.Context) { p.onChange(ctx, changed, reroute) }
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			handle = func(ctx context.Context) {
				if p.refreshHooks() {
					p.onChange(ctx, changed, reroute)
				}
			}
		case now := <-small.C:
			if !tooBig.came(now) {
				continue
			}
			handle = func(ctx context.Context) { p.onTooBig(ctx, &tooBig, reroute) }
		case <-changed:
		case <-p.freeze.again:
		}
		p.freeze.handle(ctx, handle)
	}
}

// onStart finds out what has changed before this process followed it. Routes that are as
// they were leave the sessions' entries as they are.
func (p *Path) onStart(ctx context.Context, changed <-chan struct{}, reroute func(context.Context) error) {
	if p.refreshHooks() || atomic.LoadUint32(&p.memory.control.Paused) != 0 {
		p.onChange(ctx, changed, reroute)
		return
	}
	p.reroute(ctx, reroute)
}

// reroute has routes resolved anew.
func (p *Path) reroute(ctx context.Context, reroute func(context.Context) error) {
	p.epoch.Add(1)
	p.callReroute(ctx, reroute)
}

func (p *Path) callReroute(ctx context.Context, reroute func(context.Context) error) {
	if err := reroute(ctx); err != nil && ctx.Err() == nil {
		p.cfg.Log.Warn("kernel path: sessions stay in user space", "error", err)
	}
}

// receiveNotices reports that there were notices. Their content does not matter, and one
// that is lost is reported by the error.
func receiveNotices(ctx context.Context, from *nl.NetlinkSocket, changed chan<- struct{}) {
	for ctx.Err() == nil {
		_, _, err := from.Receive()
		if ctx.Err() != nil {
			return
		}
		if err != nil && !isTransient(err) {
			return
		}
		select {
		case changed <- struct{}{}:
		default:
		}
	}
}

// isTransient reports whether an error of a netlink socket passes: ENOBUFS says that
// notices were lost.
func isTransient(err error) bool { return errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EINTR) }

// onChange handles a change, and those that follow it closely. If Follow is to freeze
// meanwhile, datagrams go on to go up.
func (p *Path) onChange(ctx context.Context, changed <-chan struct{}, reroute func(context.Context) error) {
	p.pause()
	latest := time.After(settleMost)
	for quiet := false; !quiet; {
		select {
		case <-changed:
		case <-time.After(settle):
			quiet = true
		case <-latest:
			quiet = true
		case <-ctx.Done():
			quiet = true
		}
	}
	if ctx.Err() == nil {
		p.refreshHooks()
		p.reroute(ctx, reroute)
	}
	if errors.Is(context.Cause(ctx), errFrozen) {
		p.keepPaused()
		return
	}
	p.resume()
}

// refreshHooks follows the host's devices and IPsec policies, and reports whether anything
// has changed.
func (p *Path) refreshHooks() bool {
	changes, err := p.hooks.refresh()
	if err != nil {
		p.cfg.Log.Warn("kernel path: devices not followed", "error", err)
	}
	for _, change := range changes {
		p.cfg.Log.Info("kernel path: " + change)
	}
	changed, err := p.ipsec.refresh()
	if err != nil {
		p.cfg.Log.Warn("kernel path: IPsec policies not followed", "error", err)
	}
	return changed || len(changes) > 0
}
