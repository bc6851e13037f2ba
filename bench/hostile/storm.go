//go:build linux

package hostile

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"path/filepath"
	"time"

	"srtrelay/bench/live"
	"srtrelay/bench/rig"
)

const (
	// stormRate is data per second of a session, each way: with ten thousand of them, as much
	// as two cores carry beside all connecting at once.
	stormRate = 0.5
	// stormSources is how many addresses the callers have. Each is that of a NAT with as many
	// callers as a limit per source must allow.
	stormSources = 100
	// perPort is how many sessions share a caller's port.
	perPort = 8
	// stormApart is the time between the first connects of two sessions.
	stormApart = 500 * time.Microsecond
	// stormOver is how long a storm may take until everybody is connected.
	stormOver = 60 * time.Second
	// movedWithin is less than the time after which callers give their sessions up.
	movedWithin = 15 * time.Second
	slowServer  = 0
	deadServer  = 1
)

// storm is the act in which everybody connects at once.
func (r *run) storm(ctx context.Context) (err error) {
	var locals []netip.Addr
	for i := range stormSources {
		locals = append(locals, netip.AddrFrom4([4]byte{10, 77, 0, byte(100 + i)}))
	}
	r.rig, err = rig.Open(ctx, r.lab, rig.Config{
		Relay: r.options.Relay, Static: servers, Ports: max(r.options.Storm/perPort, 1), Seed: r.options.Seed, Locals: locals, Apart: stormApart,
		Flags: r.relayFlags("--takeover-socket", filepath.Join(r.dir, "takeover.sock")),
	})
	if err != nil {
		return err
	}
	defer func() { err = closing(err, r.rig) }()
	r.rig.Callers.Keep(r.options.Storm, live.Spec{Prefix: "live/s", Rate: stormRate})
	if err := r.rig.AwaitOpen(ctx, stormOver); err != nil {
		return err
	}
	if err := r.steps(ctx, []step{{"calm", "nothing", nothing, r.wait(5 * time.Second)}}); err != nil {
		return err
	}
	before, err := r.rig.Relay.Gauges()
	if err != nil {
		return err
	}
	if err := r.steps(ctx, []step{
		{"taken over", "another process takes the relay over", nothing, r.takenOver},
		{"callers move", "everybody gets another port at once, as behind a NAT that restarts", datagrams, r.callersMove},
		{"storm at a take-over", "everybody connects again while another process takes over, one server is slow and one dead", connects, r.stormAtTakeOver},
		{"restarted", "the relay is restarted, one server is slow and one dead", connects, r.restarted},
	}); err != nil {
		return err
	}
	return r.finish(ctx, before)
}

// takenOver has another process take over.
func (r *run) takenOver(ctx context.Context) error {
	if err := r.rig.TakeOver(ctx); err != nil {
		return err
	}
	return rig.Pause(ctx, 2*time.Second)
}

// amongFaults does something while one server is slow and one is dead.
func (r *run) amongFaults(ctx context.Context, do func(context.Context) error) (err error) {
	if err := r.rig.Slow(ctx, slowServer, true); err != nil {
		return err
	}
	if err := r.rig.Kill(ctx, deadServer); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, r.rig.Slow(ctx, slowServer, false), r.rig.Revive(ctx, deadServer))
	}()
	return do(ctx)
}

// reconnected does something that makes everybody connect, among faults, and waits until
// everybody is there.
func (r *run) reconnected(ctx context.Context, do func(context.Context) error) error {
	return r.amongFaults(ctx, func(ctx context.Context) error {
		begun := time.Now()
		counts := r.rig.Callers.Counts()
		if err := do(ctx); err != nil {
			return err
		}
		if err := r.rig.AwaitOpen(ctx, stormOver); err != nil {
			return err
		}
		took := time.Since(begun)
		tried, failed, codes := r.connects(counts)
		r.figure("all %d sessions were there again after %.1f s: %s; %d of %d attempts failed, rejected: %s",
			r.options.Storm, took.Seconds(), waits(r.rig.Callers.Waits()), failed, tried, codes)
		return nil
	})
}

// connects counts the attempts to connect since a moment, those that failed, and the rejections
// by code.
func (r *run) connects(before live.Counts) (tried, failed uint64, codes string) {
	now := r.rig.Callers.Counts()
	rejected := maps.Clone(now.Rejected)
	for code, n := range before.Rejected {
		if rejected[code] -= n; rejected[code] == 0 {
			delete(rejected, code)
		}
	}
	failed = now.Failed - before.Failed
	return now.Connected - before.Connected + failed, failed, rig.Codes(rejected)
}

// callersMove gives all callers other ports, and waits until all sessions have followed.
func (r *run) callersMove(ctx context.Context) error {
	before, err := r.load()
	if err != nil {
		return err
	}
	if err := r.rig.Callers.Rebind(); err != nil {
		return err
	}
	begun, half := time.Now(), time.Duration(0)
	all := uint64(r.options.Storm)
	err = rig.Await(ctx, movedWithin, "all sessions at their new addresses", func() bool {
		books, err := r.rig.Relay.Books()
		moved := books.Migrations - before.books.Migrations
		if err == nil && half == 0 && moved >= all/2 {
			half = time.Since(begun)
		}
		return err == nil && moved >= all
	})
	after, loadErr := r.load()
	r.figure("%d of %d sessions moved within %.1f s, half of them within %.1f s; %d challenges",
		after.books.Migrations-before.books.Migrations, all, time.Since(begun).Seconds(), half.Seconds(), after.books.Challenges-before.books.Challenges)
	// What was lost is seen by the datagram behind it, which comes within two seconds.
	return errors.Join(err, loadErr, rig.Pause(ctx, 5*time.Second))
}

func (r *run) stormAtTakeOver(ctx context.Context) error {
	return r.reconnected(ctx, func(ctx context.Context) error {
		r.rig.Callers.Redial()
		return r.rig.TakeOver(ctx)
	})
}

func (r *run) restarted(ctx context.Context) error {
	return r.reconnected(ctx, func(ctx context.Context) error {
		begun := time.Now()
		err := r.rig.Restart(ctx)
		if err == nil {
			r.figure("stopped, with its grace of 2 s, and started within %.1f s", time.Since(begun).Seconds())
		}
		return err
	})
}
