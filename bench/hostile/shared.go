//go:build linux

package hostile

import (
	"context"
	"fmt"
	"strings"
	"time"

	"srtrelay/bench/rig"
)

// sentinel is the act with a Redis Sentinel.
func (r *run) sentinel(ctx context.Context) (err error) {
	master := rig.NewRedis(r.lab.Origin, r.dir, redisPort)
	replica := rig.NewRedis(r.lab.Origin, r.dir, redisPort+1, "--replicaof", "127.0.0.1", fmt.Sprint(master.Port))
	started := []*rig.Redis{master, replica}
	defer func() {
		for _, s := range started {
			s.Kill()
		}
	}()
	for _, s := range started {
		if err := s.Start(ctx); err != nil {
			return err
		}
	}
	var addresses []string
	for n := range 3 {
		s, err := rig.NewSentinel(r.lab.Origin, r.dir, redisPort+10+n, master.Port, 2)
		if err != nil {
			return err
		}
		if err := s.Start(ctx); err != nil {
			return err
		}
		started = append(started, s)
		addresses = append(addresses, s.Addr())
	}
	watched := started[2]
	err = rig.Await(ctx, 30*time.Second, "the sentinels know each other and the replica", func() bool {
		text, err := watched.Ask(ctx, "sentinel", "master", "relays")
		return err == nil && after(text, "num-slaves") == "1" && after(text, "num-other-sentinels") == "2"
	})
	if err != nil {
		return err
	}
	return r.failover(ctx, "redis+sentinel://"+strings.Join(addresses, ",")+"/relays", master, func(ctx context.Context) error {
		return rig.Await(ctx, 60*time.Second, "the sentinels name another master", func() bool {
			text, err := watched.Ask(ctx, "sentinel", "get-master-addr-by-name", "relays")
			return err == nil && strings.Contains(text, fmt.Sprint(replica.Port))
		})
	})
}

// after returns the line behind the line that is word.
func after(text, word string) string {
	_, rest, _ := strings.Cut(text, word+"\n")
	value, _, _ := strings.Cut(rest, "\n")
	return value
}

// cluster is the act with a Redis Cluster of three masters and their replicas.
func (r *run) cluster(ctx context.Context) (err error) {
	var nodes []*rig.Redis
	defer func() {
		for _, n := range nodes {
			n.Kill()
		}
	}()
	create := []string{"redis-cli", "--cluster", "create"}
	var addresses []string
	for i := range 6 {
		n := rig.NewRedis(r.lab.Origin, r.dir, redisPort+i, "--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
		if err := n.Start(ctx); err != nil {
			return err
		}
		nodes = append(nodes, n)
		create = append(create, n.Addr())
		if i < 3 {
			addresses = append(addresses, n.Addr())
		}
	}
	if _, err := r.lab.Origin.Run(ctx, append(create, "--cluster-replicas", "1", "--cluster-yes")...); err != nil {
		return err
	}
	whole := func(n *rig.Redis) func() bool {
		return func() bool {
			text, err := n.Ask(ctx, "cluster", "info")
			return err == nil && strings.Contains(text, "cluster_state:ok") && strings.Contains(text, "cluster_known_nodes:6")
		}
	}
	for _, n := range nodes {
		if err := rig.Await(ctx, 60*time.Second, "the cluster is whole", whole(n)); err != nil {
			return err
		}
	}
	return r.failover(ctx, "redis+cluster://"+strings.Join(addresses, ","), nodes[0], func(ctx context.Context) error {
		// The relay loses Redis before it has it again.
		if err := rig.Pause(ctx, 3*time.Second); err != nil {
			return err
		}
		return rig.Await(ctx, 60*time.Second, "the cluster serves again", whole(nodes[1]))
	})
}

// storeWithin is how soon after Redis's own failover a relay must use it again.
const storeWithin = 5 * time.Second

// failover kills a master under a relay with this Redis, waits until Redis has
// another, and lets the old one return.
func (r *run) failover(ctx context.Context, url string, master *rig.Redis, over func(context.Context) error) (err error) {
	if err := r.open(ctx, url); err != nil {
		return err
	}
	defer func() { err = closing(err, r.rig) }()
	steps := []step{{"calm", "nothing", nothing, func(ctx context.Context) error {
		return r.storeReturns(ctx, rig.Pause(ctx, r.options.hold(10*time.Second)))
	}}}
	if err := r.steps(ctx, steps); err != nil {
		return err
	}
	before, err := r.rig.Relay.Gauges()
	if err != nil {
		return err
	}
	err = r.steps(ctx, []step{
		{"master killed", "SIGKILL of the master that the relay uses", nothing, func(ctx context.Context) error {
			master.Kill()
			if err := over(ctx); err != nil {
				return err
			}
			begun := time.Now()
			if err := r.storeReturns(ctx, nil); err != nil {
				return err
			}
			took := time.Since(begun)
			r.say.line("  the shared state is in use again %.1f s after Redis's own failover", took.Seconds())
			if took > storeWithin {
				return fmt.Errorf("the shared state was in use again only %.1f s after Redis's own failover", took.Seconds())
			}
			return rig.Pause(ctx, r.options.hold(15*time.Second))
		}},
		{"old master returns", "it becomes a replica", nothing, func(ctx context.Context) error {
			if err := master.Start(ctx); err != nil {
				return err
			}
			return r.storeReturns(ctx, rig.Pause(ctx, r.options.hold(15*time.Second)))
		}},
	})
	if err != nil {
		return err
	}
	return r.finish(ctx, before)
}
