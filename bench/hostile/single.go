//go:build linux

package hostile

import (
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"srtrelay/bench/rig"
)

// redisPort is the first port of Redis processes.
const redisPort = 16379

// step is one phase of an act.
type step struct {
	name, what string
	may        allow
	do         func(ctx context.Context) error
}

// steps runs phases until one cannot.
func (r *run) steps(ctx context.Context, all []step) error {
	for _, s := range all {
		if !r.options.has(s.name) && s.name != "calm" {
			continue
		}
		if err := r.phase(ctx, s.name, s.what, s.may, s.do); err != nil {
			return err
		}
	}
	return nil
}

// wait returns a phase that only waits.
func (r *run) wait(d time.Duration) func(context.Context) error {
	return func(ctx context.Context) error { return rig.Pause(ctx, r.options.hold(d)) }
}

// single is the act with one Redis.
func (r *run) single(ctx context.Context) (err error) {
	redis := rig.NewRedis(r.lab.Origin, r.dir, redisPort)
	if err := redis.Start(ctx); err != nil {
		return err
	}
	defer redis.Kill()
	if err := r.open(ctx, "redis://"+redis.Addr()+"/0"); err != nil {
		return err
	}
	defer func() { err = closing(err, r.rig) }()
	if err := r.steps(ctx, []step{{"calm", "nothing", nothing, r.wait(10 * time.Second)}}); err != nil {
		return err
	}
	before, err := r.rig.Relay.Gauges()
	if err != nil {
		return err
	}
	if err := r.steps(ctx, slices.Concat(r.stalls(), r.attacks(), r.redisFaults(redis), r.logFaults())); err != nil {
		return err
	}
	return r.finish(ctx, before)
}

// closing closes a rig and joins its error to err.
func closing(err error, r *rig.Rig) error {
	if closeErr := r.Close(); err == nil {
		return closeErr
	}
	return err
}

// stalls returns the phases in which a process is stopped or killed.
func (r *run) stalls() []step {
	return []step{
		{"relay stopped", "SIGSTOP for 6 s", datagrams, r.relayStops},
		{"server stopped 3 s", "SIGSTOP of server 0 for 3 s", nothing, func(ctx context.Context) error { return r.serverStops(ctx, 0, 3*time.Second, false) }},
		{"server stopped 8 s", "SIGSTOP of server 1 for 8 s", connects, func(ctx context.Context) error { return r.serverStops(ctx, 1, 8*time.Second, true) }},
		{"server killed", "SIGKILL of server 2, back at its address after 8 s", connects, r.serverDies},
	}
}

// logFaults returns the phases in which nobody reads the log. They come last, because after
// the death of the log's reader there is no log to check.
func (r *run) logFaults() []step {
	return []step{
		{"log reader stalls", "the pipe of the log is full, sessions come and go", nothing, r.logStalls},
		{"log reader returns", "the log is read again", nothing, func(ctx context.Context) error {
			r.rig.Relay.Log.Stall(false)
			return rig.Pause(ctx, r.options.hold(6*time.Second))
		}},
		{"log reader dies", "the log's reading end is closed", nothing, func(ctx context.Context) error {
			r.rig.Relay.Log.Die()
			return rig.Pause(ctx, r.options.hold(20*time.Second))
		}},
	}
}

// logStalls also checks that the control plane goes on: leases must not leak.
func (r *run) logStalls(ctx context.Context) error {
	relay := r.rig.Relay
	relay.Log.Stall(true)
	if err := rig.Pause(ctx, r.options.hold(20*time.Second)); err != nil {
		return err
	}
	if err := relay.Signal(syscall.SIGHUP); err != nil {
		return err
	}
	r.churn(false)
	defer r.churn(true)
	return rig.Await(ctx, 20*time.Second, "with its log stalled the relay gives back the leases of ended sessions", func() bool {
		backends, err := relay.Backends()
		leases := 0
		for _, b := range backends {
			leases += b.Sessions
		}
		n := r.rig.Callers.Counts()
		return err == nil && n.Short == 0 && leases == n.Open
	})
}

func (r *run) relayStops(ctx context.Context) error {
	if err := r.rig.StopRelay(); err != nil {
		return err
	}
	pause := rig.Pause(ctx, 6*time.Second)
	if err := r.rig.ContinueRelay(); err != nil {
		return err
	}
	if pause != nil {
		return pause
	}
	// What it would have ended in consequence it ends within seconds.
	return rig.Pause(ctx, 12*time.Second)
}

func (r *run) serverStops(ctx context.Context, n int, d time.Duration, lasting bool) error {
	if err := r.rig.Stop(ctx, n, lasting); err != nil {
		return err
	}
	pause := rig.Pause(ctx, d)
	if err := r.rig.Continue(n); err != nil {
		return err
	}
	if pause != nil {
		return pause
	}
	return rig.Pause(ctx, r.options.hold(8*time.Second))
}

func (r *run) serverDies(ctx context.Context) error {
	if err := r.rig.Kill(ctx, 2); err != nil {
		return err
	}
	if err := rig.Pause(ctx, r.options.hold(8*time.Second)); err != nil {
		return err
	}
	if err := r.rig.Revive(ctx, 2); err != nil {
		return err
	}
	return rig.Pause(ctx, r.options.hold(12*time.Second))
}

// redisFaults returns the phases in which Redis fails or has invalid values.
func (r *run) redisFaults(redis *rig.Redis) []step {
	return []step{
		{"Redis killed", "SIGKILL of Redis, back empty after 12 s", nothing, func(ctx context.Context) error {
			redis.Kill()
			if err := rig.Pause(ctx, r.options.hold(12*time.Second)); err != nil {
				return err
			}
			return r.storeReturns(ctx, redis.Start(ctx))
		}},
		{"Redis emptied", "FLUSHALL, again and again", nothing, func(ctx context.Context) error {
			for range r.options.rounds() {
				if _, err := redis.Ask(ctx, "flushall"); err != nil {
					return err
				}
				if err := rig.Pause(ctx, r.options.hold(2*time.Second)/2); err != nil {
					return err
				}
			}
			return nil
		}},
		{"wrong types", "every key of Redis replaced by one of another type, again and again", nothing, func(ctx context.Context) error {
			return r.wrongTypes(ctx, redis)
		}},
		{"Redis mended", "FLUSHALL", nothing, func(ctx context.Context) error {
			if _, err := redis.Ask(ctx, "flushall"); err != nil {
				return err
			}
			return r.storeReturns(ctx, rig.Pause(ctx, r.options.hold(6*time.Second)))
		}},
	}
}

// storeReturns waits until the relay uses Redis again.
func (r *run) storeReturns(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	return rig.Await(ctx, storePatience, "the relay uses Redis again", r.rig.Relay.StoreUp)
}

// storePatience is far more than a relay should take.
const storePatience = 30 * time.Second

// wrongTypes replaces the strings in Redis by hashes and all other values by lists.
func (r *run) wrongTypes(ctx context.Context, redis *rig.Redis) error {
	const atOnce = 200
	for range r.options.rounds() {
		keys, err := redis.Keys(ctx)
		if err != nil {
			return err
		}
		r.rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
		for len(keys) > 0 {
			some := keys[:min(atOnce, len(keys))]
			keys = keys[len(some):]
			script := "for _, k in ipairs(KEYS) do local t = redis.call('TYPE', k).ok; redis.call('DEL', k); " +
				"if t == 'string' then redis.call('HSET', k, 'a', 'b') else redis.call('RPUSH', k, 'a') end end"
			command := append([]string{"eval", script, fmt.Sprint(len(some))}, some...)
			if _, err := redis.Ask(ctx, command...); err != nil {
				return err
			}
		}
		if err := rig.Pause(ctx, r.options.hold(2*time.Second)/2); err != nil {
			return err
		}
	}
	return nil
}
