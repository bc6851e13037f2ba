package redis

import (
	"context"
	"slices"
	"sync"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// maxProxyKeys is how many proxy keys of one stream are kept in step. A further
// one is written when a caller brings it, and not renewed.
const maxProxyKeys = 4

// proxyKeys are the keys, other than their own, under which SRS's proxy looks
// for streams that have sessions here. SRS drops the last dot of a stream and
// what follows, the proxy does not: live/cam.01 is live/cam to the one and
// live/cam.01 to the other.
//
// A stream's own key decides. Its proxy keys follow it, so that callers of the
// proxy meet its server; one that the proxy has bound before proposes where the
// stream is to be. Where both are bound, to two servers that live, each keeps
// its callers until somebody publishes by SRT: the publisher's server is the
// proxy key's from then on.
type proxyKeys struct {
	mu sync.Mutex
	of map[string][]string // by key
}

// known reports whether a query's proxy key is kept in step.
func (s *proxyKeys) known(q backend.Query) bool {
	if q.ProxyKey == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.of[q.Key], q.ProxyKey)
}

// note keeps a query's proxy key in step from now on.
func (s *proxyKeys) note(q backend.Query) {
	if q.ProxyKey == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.of[q.Key]; len(all) < maxProxyKeys && !slices.Contains(all, q.ProxyKey) {
		s.of[q.Key] = append(all, q.ProxyKey)
	}
}

// ofBindings returns the proxy keys of all bindings, and forgets those of others.
func (s *proxyKeys) ofBindings(bindings []balancer.Binding) map[balancer.AffinityKey][]string {
	homes := make(map[balancer.AffinityKey]bool, len(bindings))
	for _, bound := range bindings {
		homes[bound.Key] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[balancer.AffinityKey][]string, len(s.of))
	for key, names := range s.of {
		h := balancer.AffinityKey{Stream: key}
		if !homes[h] {
			delete(s.of, key)
			continue
		}
		all[h] = slices.Clone(names)
	}
	return all
}

// settleStream is settle for a query's stream and its proxy key.
func (b *Balancer) settleStream(ctx context.Context, q backend.Query, want backend.Backend, bound bool) (at backend.Backend, home backend.ID, err error) {
	stream := balancer.AffinityKey{Stream: q.Key}
	if q.ProxyKey == "" {
		return b.settle(ctx, stream, q, want)
	}
	spelled := balancer.AffinityKey{Stream: q.ProxyKey}
	if !bound {
		there, found, err := b.lookup(ctx, spelled, q)
		switch {
		case err != nil && isOutage(err):
			return backend.Backend{}, "", err
		case err == nil && found:
			want = there
		}
	}
	if at, home, err = b.settle(ctx, stream, q, want); err != nil || home == "" {
		return at, home, err
	}
	if err := b.bindProxyKey(ctx, spelled, q, at); err != nil && isOutage(err) {
		return backend.Backend{}, "", err
	}
	return at, home, nil
}

// bindProxyKey binds a proxy key to the server of its stream: if nothing else is bound
// there, if that does not live, or for a publisher.
func (b *Balancer) bindProxyKey(ctx context.Context, spelled balancer.AffinityKey, q backend.Query, at backend.Backend) error {
	wanted, stale := b.names.of(at), ""
	for range maxContests {
		c, err := b.claim(ctx, spelled, wanted, stale)
		key := c.key
		if err != nil || key == wanted {
			return err
		}
		there, usable, err := b.server(ctx, key, q)
		if err != nil || there.ID == at.ID || usable && !q.Publish {
			return err
		}
		stale = key
	}
	return errContested
}

// absentKey is what is remembered of a player's stream that is not there.
func absentKey(q backend.Query) string {
	if q.ProxyKey != "" {
		return q.ProxyKey
	}
	return q.Key
}
