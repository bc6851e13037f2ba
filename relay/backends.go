package relay

import (
	"context"
	"log/slog"
	"net"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/balancer/redis"
	"srtrelay/config"
)

// selectedBalancer is the balancer that the settings ask for, and its parts.
type selectedBalancer struct {
	balancer.Balancer
	memory *balancer.Memory // the books of this relay
	shared *redis.Balancer  // the store that relays share, nil without one
}

func openBalancer(registry *backend.Registry, c config.Config, carried *bitrates, p process) selectedBalancer {
	memory := balancer.NewMemory(registry, time.Now)
	memory.Bitrate = carried.of
	memory.Outliers = c.OutlierDetection
	memory.Policy, memory.Affinity, memory.PlayersCreate = balancer.Policy(c.Policy), c.Affinity, c.PlayersCreate
	if c.State != "redis" {
		return selectedBalancer{Balancer: memory, memory: memory}
	}
	shared := redis.Open(redis.Options{
		Servers: redis.Servers(c.Redis), Registry: registry, Memory: memory, TTL: c.BackendTTL, Log: p.log,
		Supervisor: p.supervisor,
	})
	return selectedBalancer{Balancer: shared, memory: memory, shared: shared}
}

// Explain implements api.Explainer.
func (c selectedBalancer) Explain(q backend.Query) (backend.Target, string, error) {
	if c.shared != nil {
		return c.shared.Explain(q)
	}
	return c.memory.Explain(q)
}

// Close ends what a shared store does in the background.
func (c selectedBalancer) Close() {
	if c.shared != nil {
		c.shared.Close()
	}
}

// addBackends enters the static backends.
func addBackends(r *backend.Registry, c config.Config) error {
	if err := r.AddStatic(c.Backends, time.Now()); err != nil {
		return err
	}
	for host, weight := range c.Weights {
		r.Weigh(backend.ID(host), weight)
	}
	return nil
}

// followNames keeps the addresses of static backends up to date. tried is called
// when every name has been looked up once.
func followNames(ctx context.Context, r *backend.Registry, p process, tried func()) {
	log := p.log
	r.Follow(ctx, backend.Names{
		Lookup: net.DefaultResolver.LookupNetIP,
		Tried:  tried,

		Supervisor: p.supervisor,
		Moved: func(b backend.Backend) {
			log.Info("backend has a new address", "backend", string(b.ID), "address", b.Addr)
		},
		Failed: func(b backend.Backend) {
			log.Warn("backend name of no use", "backend", string(b.ID), "error", b.Problem, "address_kept", shownAddr(b.Addr))
		},
	})
}

// age forgets the backends whose heartbeat has been late for long.
func age(ctx context.Context, r *backend.Registry, log *slog.Logger) {
	r.Age(ctx, func(b backend.Backend, why string) {
		log.Info("backend forgotten", "backend", string(b.ID), "address", b.Addr, "reason", why)
	})
}
