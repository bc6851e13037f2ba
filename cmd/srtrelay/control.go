package main

import (
	"log/slog"
	"sync/atomic"
	"time"

	"srtrelay/api"
	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/metrics"
	"srtrelay/rules"
	"srtrelay/shard"
)

// newServer joins the API to the rooms it asks.
func newServer(c config.Config, registry *backend.Registry, chosen choice, group *shard.Group, live *rules.Live, state *lifeState, log *slog.Logger) *api.Server {
	var store metrics.Store // nil, not a nil *redis.Balancer in it
	if chosen.shared != nil {
		store = chosen.shared
	}
	return api.New(buildVersion(), api.Rooms{
		Shards:    group,
		Backends:  knownBackends{registry},
		Loads:     knownLoads{chosen.memory},
		State:     state,
		Registry:  registry,
		Resolver:  chosen,
		Rules:     live,
		TTL:       c.BackendTTL,
		Token:     c.RegisterToken,
		LocalOnly: c.RegisterToken == "" && !c.APIAllowRemote,
		Metrics:   metrics.Handler(buildVersion(), group, store, log),
	}, log)
}

// lifeState is what the API says of the process.
type lifeState struct {
	started, draining atomic.Bool
	// shared is the store that relays share, nil without one.
	shared *redis.Balancer
}

// Ready implements api.State. A relay that has once reached the shared store
// stays ready without it: it goes on from what it knows.
func (l *lifeState) Ready() (bool, string) {
	if !l.started.Load() {
		return false, "starting"
	}
	if l.shared == nil {
		return true, ""
	}
	inUse, since, detail := l.shared.State()
	if !inUse {
		detail = "redis is away since " + since.UTC().Format(time.RFC3339) + ": " + detail
	}
	return l.shared.Reached(), detail
}

// Draining implements api.State.
func (l *lifeState) Draining() bool { return l.draining.Load() }

// knownBackends shows the registry to the API.
type knownBackends struct{ registry *backend.Registry }

// Backends implements api.Backends.
func (k knownBackends) Backends() []api.Backend {
	return api.View(k.registry.Snapshot(), k.registry.Seen(), time.Now())
}

// knownLoads shows the balancer's books to the API.
type knownLoads struct{ memory *balancer.Memory }

// Loads implements api.Loads.
func (k knownLoads) Loads() map[backend.ID]api.Load {
	loads := make(map[backend.ID]api.Load)
	for id, l := range k.memory.Loads() {
		loads[id] = api.Load(l)
	}
	return loads
}
