package relay

import (
	"context"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/internal/supervise"
	"srtrelay/shard"
)

// selectedBalancer is the balancer of the configuration, and its parts.
type selectedBalancer struct {
	balancer.Balancer
	registry *backend.Registry
	memory   *balancer.Memory // this relay's own state
	shared   *redis.Balancer  // the state shared by relays; nil with --state memory
}

func openBalancer(registry *backend.Registry, c config.Config, rates *bitrates, name func() string, secrets func([]redis.Secret), p process) selectedBalancer {
	memory := balancer.NewMemory(registry, time.Now)
	memory.Bitrate = rates.of
	memory.Set(balancerSettings(c))
	if c.State != "redis" {
		return selectedBalancer{Balancer: memory, registry: registry, memory: memory}
	}
	shared := redis.Open(redis.Options{
		Servers: redis.Servers(c.Redis), Registry: registry, Memory: memory, TTL: c.BackendTTL, Log: p.log,
		Name: name, Secrets: secrets, Supervisor: p.supervisor,
	})
	return selectedBalancer{Balancer: shared, registry: registry, memory: memory, shared: shared}
}

// Explain implements api.Explainer.
func (c selectedBalancer) Explain(q backend.Query) (backend.Target, string, error) {
	if c.shared != nil {
		return c.shared.Explain(q)
	}
	return c.memory.Explain(q)
}

// close ends the background tasks of the shared state. abandon says that it is another
// process's now.
func (c selectedBalancer) close(abandon bool) {
	switch {
	case c.shared == nil:
	case abandon:
		c.shared.Abandon()
	default:
		c.shared.Close()
	}
}

// pause stops the background tasks of the shared state, until resume.
func (c selectedBalancer) pause() {
	if c.shared != nil {
		c.shared.Pause()
	}
}

func (c selectedBalancer) resume() {
	if c.shared != nil {
		c.shared.Resume()
	}
}

// releaseExcept releases the leases that no session holds after a take-over.
func (c selectedBalancer) releaseExcept(held func(backend.Lease) bool) (released int) {
	if c.shared != nil {
		return c.shared.ReleaseExcept(held)
	}
	released, _ = c.memory.ReleaseExcept(held)
	return released
}

// addStaticBackends registers the backends of the configuration.
func addStaticBackends(r *backend.Registry, c config.Config) error {
	if err := r.AddStatic(c.Backends, time.Now()); err != nil {
		return err
	}
	for host, weight := range c.Weights {
		r.SetWeight(backend.ID(host), weight)
	}
	return nil
}

// resolveNames looks up the host names of static backends until ctx ends. It calls
// tried when every name has been looked up once.
func resolveNames(ctx context.Context, r *backend.Registry, p process, tried func()) {
	log := p.log
	r.ResolveNames(ctx, backend.ResolveOptions{
		Lookup:    net.DefaultResolver.LookupNetIP,
		LookupSRV: net.DefaultResolver.LookupSRV,
		OnFirst:   tried,

		Supervisor: p.supervisor,
		OnFound: func(b backend.Backend) {
			log.Info("backend name has an address", "name", b.Host, "backend", string(b.ID))
		},
		OnLeft: func(b backend.Backend) {
			log.Info("backend name has lost an address", "name", b.Host, "backend", string(b.ID))
		},
		OnFail: func(host, problem string, kept int) {
			log.Warn("backend name not resolved", "name", host, "error", problem, "addresses_kept", kept)
		},
	})
}

// expireBackends removes backends whose heartbeat is long overdue, or whose name has
// another address, until ctx ends.
func expireBackends(ctx context.Context, r *backend.Registry, inUse func(backend.ID) bool, log *slog.Logger) {
	r.RunExpiry(ctx, inUse, func(b backend.Backend, why string) {
		log.Info("backend forgotten", "backend", string(b.ID), "address", b.Addr, "reason", why)
	})
}

// bitrates holds the present bitrate of each backend, so that the balancer need not ask
// the shards.
type bitrates struct {
	current atomic.Pointer[map[backend.ID]float64]
}

// of returns a backend's bitrate in bit/s, 0 if it is unknown.
func (b *bitrates) of(id backend.ID) float64 {
	return b.all()[id]
}

// all returns the bitrates of all backends in bit/s. The map is read-only.
func (b *bitrates) all() map[backend.ID]float64 {
	if m := b.current.Load(); m != nil {
		return *m
	}
	return nil
}

// follow sums up the shards' rates every second until ctx ends.
func (b *bitrates) follow(ctx context.Context, group *shard.Group) {
	supervise.Every(ctx, time.Second, func(time.Time) {
		sum := group.Rates()
		b.current.Store(&sum)
	})
}
