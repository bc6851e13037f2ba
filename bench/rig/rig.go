//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/live"
	"srtrelay/bench/socket"
)

// Rig is a relay between callers and servers, in a lab. One goroutine calls its methods, but
// any may call those of its parts.
type Rig struct {
	Lab     *lab.Lab
	Relay   *Relay
	Callers *live.Callers
	Servers []*Server

	accounts   *accounts
	clock      *socket.Clock
	heartbeats *heartbeats
	config     Config
	early      Losses // settled before the next Settle
}

// callersPatience is longer than the relay is ever stopped, so that a session that ends then
// was ended by the relay.
const callersPatience = 20 * time.Second

// Open starts servers, relay and callers in a lab, which stays the caller's.
// Nobody connects yet.
func Open(ctx context.Context, l *lab.Lab, c Config) (r *Rig, err error) {
	r = &Rig{Lab: l, accounts: newAccounts(), clock: socket.NewClock(), config: c}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	self, err := os.Executable() // its subcommand "server" is a server
	if err != nil {
		return r, fmt.Errorf("find own program: %w", err)
	}
	var static []netip.AddrPort
	for n := range c.Static + c.Others {
		s := &Server{Number: n, bench: self, origin: l.Origin}
		r.Servers = append(r.Servers, s)
		if err := s.start(ctx); err != nil {
			return r, err
		}
		if n < c.Static {
			static = append(static, ServerAddr(n))
		}
	}
	if r.Relay, err = startRelay(ctx, l.Origin, c.Relay, static, c.Flags); err != nil {
		return r, err
	}
	r.heartbeats = startHeartbeats(r.Relay)
	if err := r.Relay.await(ctx, startPatience, "find its backends alive", func() bool { return r.alive() >= c.Static }); err != nil {
		return r, err
	}
	for _, ip := range c.Locals {
		if _, err := l.Callers.Run(ctx, "ip", "addr", "add", ip.String()+"/24", "dev", "veth0"); err != nil {
			return r, err
		}
	}
	r.Callers, err = live.NewCallers(live.CallersConfig{
		Target: Front, Local: lab.CallersAddr, Locals: c.Locals, Ports: c.Ports, Seed: c.Seed, Patience: callersPatience,
		Apart: c.Apart, In: l.Callers.Do,
	})
	return r, err
}

func (r *Rig) alive() (n int) {
	all, err := r.Relay.Backends()
	if err != nil {
		return 0
	}
	for _, b := range all {
		if b.Alive {
			n++
		}
	}
	return n
}

// Close ends everything at once. Finish ends a run in order.
func (r *Rig) Close() error {
	var errs []error
	if r.Callers != nil {
		errs = append(errs, r.Callers.Close())
		r.Callers = nil
	}
	if r.heartbeats != nil {
		r.heartbeats.stop()
		r.heartbeats = nil
	}
	if r.Relay != nil {
		_ = r.Relay.Signal(syscall.SIGCONT)
		errs = append(errs, r.Relay.stop())
		r.Relay = nil
	}
	for _, s := range r.Servers {
		s.kill()
	}
	r.Servers = nil
	return errors.Join(errs...)
}

// Beat begins the heartbeats of a server, or ends them.
func (r *Rig) Beat(n int, on bool) { r.heartbeats.set(r.Servers[n], on) }

// Stop stops a server as SIGSTOP does. A lasting stop excuses its sessions: the
// relay will find it dead.
func (r *Rig) Stop(ctx context.Context, n int, lasting bool) error {
	if lasting {
		if err := r.excuse(ctx, n); err != nil {
			return err
		}
	}
	return r.Servers[n].signal(syscall.SIGSTOP)
}

// Continue lets a stopped server go on.
func (r *Rig) Continue(n int) error {
	r.accounts.over(n, r.clock.Now())
	return r.Servers[n].signal(syscall.SIGCONT)
}

// StopRelay stops the relay itself as SIGSTOP does. What sessions lose then is excused.
func (r *Rig) StopRelay() error {
	r.accounts.paused = append(r.accounts.paused, fault{from: r.clock.Now()})
	return r.Relay.Signal(syscall.SIGSTOP)
}

// ContinueRelay lets it go on.
func (r *Rig) ContinueRelay() error {
	if n := len(r.accounts.paused); n > 0 {
		r.accounts.paused[n-1].to = r.clock.Now()
	}
	return r.Relay.Signal(syscall.SIGCONT)
}

// Slow has a server answer handshakes late, or at once again.
func (r *Rig) Slow(ctx context.Context, n int, on bool) error {
	command := "quick"
	if on {
		command = "slow"
	}
	report, err := r.Servers[n].ask(ctx, command)
	if err != nil {
		return err
	}
	r.accounts.fromServer(report, r.clock.Now(), &r.early)
	return nil
}

// Kill ends a server as SIGKILL does, and its heartbeats.
func (r *Rig) Kill(ctx context.Context, n int) error {
	if err := r.excuse(ctx, n); err != nil {
		return err
	}
	r.heartbeats.set(r.Servers[n], false)
	r.Servers[n].kill()
	return nil
}

// Revive starts a killed server again, at its address.
func (r *Rig) Revive(ctx context.Context, n int) error {
	if err := r.Servers[n].start(ctx); err != nil {
		return err
	}
	r.accounts.over(n, r.clock.Now())
	return nil
}

// excuse notes which sessions a fault ends, after it has settled their server's accounts.
func (r *Rig) excuse(ctx context.Context, n int) error {
	report, err := r.Servers[n].ask(ctx, "all")
	if err != nil {
		return err
	}
	now := r.clock.Now()
	r.accounts.began(n, now, report.Sessions)
	// Sessions that ended just before are not excused: their ledgers are kept.
	report.Sessions = nil
	var l Losses
	r.accounts.fromServer(report, now, &l)
	r.early.Add(l)
	return nil
}

// Settle asks both ends for all ledgers and returns what was lost since the
// last time.
func (r *Rig) Settle(ctx context.Context) (l Losses, err error) {
	l, r.early = r.early, Losses{}
	now := r.clock.Now()
	// Servers first: a caller's ledger needs the session's server.
	for _, s := range r.Servers {
		report, err := s.ask(ctx, "all")
		if errors.Is(err, errAway) {
			continue
		}
		if err != nil {
			return l, err
		}
		r.accounts.fromServer(report, now, &l)
	}
	open, ended := r.Callers.Ledgers()
	r.accounts.fromCallers(open, ended, now, &l)
	r.accounts.forget(now)
	return l, nil
}

// Totals returns the sum of what all servers have counted, without their sessions.
func (r *Rig) Totals(ctx context.Context) (sum live.Report, err error) {
	for _, s := range r.Servers {
		report, err := s.ask(ctx, "look")
		if errors.Is(err, errAway) {
			continue
		}
		if err != nil {
			return sum, err
		}
		var l Losses
		r.accounts.fromServer(report, r.clock.Now(), &l)
		r.early.Add(l)
		sum.Open += report.Open
		sum.Sent += report.Sent
		sum.Received += report.Received
		sum.Lost += report.Lost
	}
	return sum, nil
}

// Drops reads what the kernel dropped so far.
func (r *Rig) Drops() (Drops, error) { return readDrops(r.Lab) }

const (
	// quietFor is how long nothing may arrive before all counts as arrived.
	quietFor = 500 * time.Millisecond
	// drainFor bounds that.
	drainFor = 15 * time.Second
	// emptyFor is how long the relay may take to find that sessions have no peers any
	// more.
	emptyFor = 60 * time.Second
)

// Finish ends all traffic, waits for what is under way, ends all sessions, and
// returns what was lost in the end, and the relay's books when it is empty.
func (r *Rig) Finish(ctx context.Context) (l Losses, b Books, err error) {
	r.Callers.Churn(0, live.Spec{})
	if err := r.Relay.await(ctx, drainFor, "let short sessions end", func() bool { return r.Callers.Counts().Short == 0 }); err != nil {
		return l, b, err
	}
	r.Callers.Silence(true)
	for _, s := range r.Servers {
		report, err := s.ask(ctx, "silence")
		if err != nil && !errors.Is(err, errAway) {
			return l, b, err
		}
		r.accounts.fromServer(report, r.clock.Now(), &l)
	}
	if err := r.drain(ctx); err != nil {
		return l, b, err
	}
	r.Callers.Leave()
	b, err = r.Relay.AwaitEmpty(ctx, emptyFor)
	settled, settleErr := r.Settle(ctx)
	l.Add(settled)
	if n := r.accounts.unpaired(); err == nil && n > 0 {
		err = fmt.Errorf("%d sessions ended at their callers of which no server has heard", n)
	}
	return l, b, errors.Join(err, settleErr)
}

// drain waits until nothing arrives any more at either end.
func (r *Rig) drain(ctx context.Context) error {
	deadline := time.Now().Add(drainFor)
	var before uint64
	for quiet := time.Now(); time.Since(quiet) < quietFor && time.Now().Before(deadline); {
		sum, err := r.Totals(ctx)
		if err != nil {
			return err
		}
		if n := sum.Received + r.Callers.Counts().Received; n != before {
			before, quiet = n, time.Now()
		}
		if err := Pause(ctx, poll); err != nil {
			return err
		}
	}
	return nil
}

// Pause waits, unless ctx ends before.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
