package redis

import (
	"context"
	"slices"
	"sync"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// maxSpellings is how many spellings of one stream are kept in step. A further
// one is written when a caller brings it, and not renewed.
const maxSpellings = 4

// spellings are the names, other than their keys, under which SRS's proxy looks
// for streams that have sessions here. SRS drops the last dot of a stream and
// what follows, the proxy does not: live/cam.01 is live/cam to the one and
// live/cam.01 to the other.
//
// A stream's own key decides. Its spellings follow it, so that callers of the
// proxy meet its server; one that the proxy has bound before proposes where the
// stream is to be. Where both are bound, to two servers that live, each keeps
// its callers until somebody publishes by SRT: the publisher's server is the
// spelling's from then on.
type spellings struct {
	mu sync.Mutex
	of map[string][]string // by key
}

// known reports whether a query's spelling is kept in step.
func (s *spellings) known(q backend.Query) bool {
	if q.ProxyKey == "" {
		return true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.of[q.Key], q.ProxyKey)
}

// note keeps a query's spelling in step from now on.
func (s *spellings) note(q backend.Query) {
	if q.ProxyKey == "" {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if all := s.of[q.Key]; len(all) < maxSpellings && !slices.Contains(all, q.ProxyKey) {
		s.of[q.Key] = append(all, q.ProxyKey)
	}
}

// ofHomes returns the spellings of all homes, and forgets those of others.
func (s *spellings) ofHomes(bindings []balancer.Binding) map[balancer.Home][]string {
	homes := make(map[balancer.Home]bool, len(bindings))
	for _, bound := range bindings {
		homes[bound.Home] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make(map[balancer.Home][]string, len(s.of))
	for key, names := range s.of {
		h := balancer.Home{Key: key}
		if !homes[h] {
			delete(s.of, key)
			continue
		}
		all[h] = slices.Clone(names)
	}
	return all
}

// settleStream is settle for a query's stream and its spelling.
func (b *Balancer) settleStream(ctx context.Context, q backend.Query, want backend.Backend, bound bool) (at backend.Backend, home backend.ID, err error) {
	stream := balancer.Home{Key: q.Key}
	if q.ProxyKey == "" {
		return b.settle(ctx, stream, q, want)
	}
	spelled := balancer.Home{Key: q.ProxyKey}
	if !bound {
		there, found, err := b.lookup(ctx, spelled, q)
		switch {
		case err != nil && ofStore(err):
			return backend.Backend{}, "", err
		case err == nil && found:
			want = there
		}
	}
	if at, home, err = b.settle(ctx, stream, q, want); err != nil || home == "" {
		return at, home, err
	}
	if err := b.spell(ctx, spelled, q, at); err != nil && ofStore(err) {
		return backend.Backend{}, "", err
	}
	return at, home, nil
}

// spell binds a spelling to the server of its stream: if nothing else is bound
// there, if that does not live, or for a publisher.
func (b *Balancer) spell(ctx context.Context, spelled balancer.Home, q backend.Query, at backend.Backend) error {
	wanted, stale := b.names.of(at), ""
	for range contests {
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

// missOf is what is remembered of a player's stream that is not there.
func missOf(q backend.Query) string {
	if q.ProxyKey != "" {
		return q.ProxyKey
	}
	return q.Key
}
