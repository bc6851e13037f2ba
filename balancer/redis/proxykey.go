package redis

import (
	"context"
	"slices"
	"sync"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// maxProxyKeys is how many proxy keys of one stream are renewed. A further one is written
// when a caller uses it, and expires.
const maxProxyKeys = 4

// proxyKeys are the keys under which SRS's proxy looks for streams that have sessions
// here, where they differ from the streams' own keys. SRS drops the last dot of a stream
// and what follows it, the proxy does not: live/cam.01 is live/cam for SRS and
// live/cam.01 for the proxy.
//
// A stream's own key decides. Its proxy keys follow it, so that callers of the proxy reach
// the same server. If the stream is new and the proxy has bound its proxy key, the stream
// goes to that server. If both are bound to different servers that are alive, each keeps
// its callers until somebody publishes by SRT. Then the proxy key goes to the publisher's
// server.
type proxyKeys struct {
	mu    sync.Mutex
	byKey map[string][]string
}

// known reports whether a query's proxy key is renewed, or is the stream's own key.
func (p *proxyKeys) known(q backend.Query) bool {
	if q.ProxyKey == "" {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Contains(p.byKey[q.Key], q.ProxyKey)
}

// note has a query's proxy key renewed from now on.
func (p *proxyKeys) note(q backend.Query) {
	if q.ProxyKey == "" {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if all := p.byKey[q.Key]; len(all) < maxProxyKeys && !slices.Contains(all, q.ProxyKey) {
		p.byKey[q.Key] = append(all, q.ProxyKey)
	}
}

// ofBindings returns the proxy keys of all bindings, and forgets those of other streams.
func (p *proxyKeys) ofBindings(bindings []balancer.Binding) map[balancer.AffinityKey][]string {
	bound := make(map[balancer.AffinityKey]bool, len(bindings))
	for _, b := range bindings {
		bound[b.Key] = true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := make(map[balancer.AffinityKey][]string, len(p.byKey))
	for key, proxyKeys := range p.byKey {
		stream := balancer.AffinityKey{Stream: key}
		if !bound[stream] {
			delete(p.byKey, key)
			continue
		}
		all[stream] = slices.Clone(proxyKeys)
	}
	return all
}

// resolveStream is resolve for a query's stream and its proxy key.
func (b *Balancer) resolveStream(ctx context.Context, q backend.Query, want backend.Backend, bound bool) (at backend.Backend, boundTo backend.ID, err error) {
	stream := balancer.AffinityKey{Stream: q.Key}
	if q.ProxyKey == "" {
		return b.resolve(ctx, stream, q, want)
	}
	proxyKey := balancer.AffinityKey{Stream: q.ProxyKey}
	if !bound {
		there, found, err := b.lookup(ctx, proxyKey, q)
		switch {
		case err != nil && isOutage(err):
			return backend.Backend{}, "", err
		case err == nil && found:
			want = there
		}
	}
	if at, boundTo, err = b.resolve(ctx, stream, q, want); err != nil || boundTo == "" {
		return at, boundTo, err
	}
	if err := b.bindProxyKey(ctx, proxyKey, q, at); err != nil && isOutage(err) {
		return backend.Backend{}, "", err
	}
	return at, boundTo, nil
}

// bindProxyKey binds a proxy key to the server of its stream if the key is new, if its
// server is not alive, or for a publisher.
func (b *Balancer) bindProxyKey(ctx context.Context, proxyKey balancer.AffinityKey, q backend.Query, at backend.Backend) error {
	wanted, stale := b.names.keyOf(at), ""
	for range maxClaims {
		c, err := b.claim(ctx, proxyKey, q.Publish, wanted, stale)
		if err != nil || c.key == wanted {
			return err
		}
		there, usable, err := b.server(ctx, c.key, q)
		if err != nil || there.ID == at.ID || usable && !q.Publish {
			return err
		}
		stale = c.key
	}
	return errContested
}

// absentKey is the key under which misses remembers a player's stream.
func absentKey(q backend.Query) string {
	if q.ProxyKey != "" {
		return q.ProxyKey
	}
	return q.Key
}
