package redis

import (
	"context"
	"errors"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// Explain returns where Pick would send a query, and why. It changes nothing, and the
// Target has no lease.
func (b *Balancer) Explain(q backend.Query) (backend.Target, string, error) {
	c, err := b.explain(q)
	return backend.Target{ID: c.Backend.ID, Addr: c.Backend.Addr}, c.Why, err
}

func (b *Balancer) explain(q backend.Query) (balancer.Choice, error) {
	ctx, cancel := context.WithTimeout(context.Background(), b.waits.pick)
	defer cancel()
	group, stream := balancer.AffinityKeys(q)
	for _, key := range []balancer.AffinityKey{group, stream, {Stream: q.ProxyKey}} {
		if key == (balancer.AffinityKey{}) || !b.circuit.closed() {
			continue
		}
		switch at, found, err := b.lookup(ctx, key, q); {
		case errors.Is(err, backend.ErrNone):
			return balancer.Choice{}, err
		case err != nil && isOutage(err):
			return b.explainOffline(q)
		case found && key == group:
			return balancer.Choice{Backend: at, Why: "its bonding group is there, says the shared state", Bound: true}, nil
		case found:
			return balancer.Choice{Backend: at, Why: "the stream is there, says the shared state", Bound: true}, nil
		}
	}
	if !b.circuit.closed() {
		return b.explainOffline(q)
	}
	return b.memory.Prefer(q, b.memory.Settings().Policy)
}

// explainOffline is explain without Redis.
func (b *Balancer) explainOffline(q backend.Query) (balancer.Choice, error) {
	c, err := b.preferOffline(q)
	c.Why += "; the shared state is away"
	return c, err
}
