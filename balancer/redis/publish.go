package redis

import (
	"context"
	"encoding/json"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// renewBatch is how many scripts are sent in one pipeline, so that it meets its deadline.
const renewBatch = 500

// publish writes the backends that this relay has from its operator or by heartbeat, and
// removes the entries of those that are gone. It does not renew what others wrote: two
// relays that renewed each other's entries would keep them for ever. The entry of a
// backend that is only late or down here expires, because it may be well for another
// relay.
func (b *Balancer) publish(ctx context.Context, ix index, now time.Time) error {
	own, known := map[string]time.Time{}, map[string]bool{}
	var array, set []string
	err := b.pipeline(ctx, func(p goredis.Pipeliner) {
		for _, at := range b.registry.Snapshot().Backends {
			known[ownKey(at)] = true
			key, ttl, due := b.due(at, now)
			if key == "" {
				continue
			}
			own[key] = at.Expires
			if due {
				text, _ := json.Marshal(recordOf(at, now)) // strings and a time cannot fail
				p.Set(ctx, key, text, ttl)
			}
			if hasRTMP(at) {
				array = append(array, key)
			}
			set = append(set, key)
		}
	})
	if err != nil {
		return err
	}
	var gone []string
	for key := range b.cache.published {
		if !known[key] {
			gone = append(gone, key)
		}
	}
	if err := b.reindex(ctx, ix, array, set, gone); err != nil {
		return err
	}
	b.cache.published = own
	b.handover.notePublished(own)
	return nil
}

// due returns the key under which this relay writes a backend, "" if it does not, the TTL,
// and whether to write it now.
func (b *Balancer) due(known backend.Backend, now time.Time) (key string, ttl time.Duration, due bool) {
	key = ownKey(known)
	e, found := b.cache.entries[key]
	switch {
	case known.Source == backend.SourceRegistered && !known.Late(now):
		last, wrote := b.cache.published[key]
		return key, max(known.Expires.Sub(now), time.Second), !found || !wrote || !last.Equal(known.Expires)
	case known.Source == backend.SourceStatic && !known.Down && b.names.keyOf(known) == key:
		return key, b.ttl, !found || e.readAt.Add(e.ttl).Sub(now) < b.ttl*2/3
	}
	return "", 0, false
}

func hasRTMP(b backend.Backend) bool { return b.Registration != nil && len(b.Registration.RTMP) > 0 }

// reindex adds to array and set what this relay has written, and removes what is gone. SRS's
// proxy writes the array in two steps. If it overwrites what a relay has added, the relay
// adds it again a second later.
func (b *Balancer) reindex(ctx context.Context, ix index, array, set, gone []string) error {
	own, remove := setOf(set), setOf(gone)
	for key := range ix.missing {
		if !own[key] {
			remove[key] = true
		}
	}
	addArray, removeArray := difference(array, ix.array), intersection(ix.array, remove)
	addSet, removeSet := difference(set, ix.set), intersection(ix.set, remove)
	if !ix.arrayComplete {
		// It is too long to be the proxy's. What cannot be read is not written.
		addArray, removeArray = nil, nil
	}
	return b.pipeline(ctx, func(p goredis.Pipeliner) {
		for _, key := range gone {
			p.Del(ctx, key)
		}
		if len(addArray)+len(removeArray) > 0 {
			args := append([]any{len(removeArray)}, anys(removeArray)...)
			listScript.Eval(ctx, p, []string{arrayKey}, append(args, anys(addArray)...)...)
		}
		if len(removeSet) > 0 {
			p.SRem(ctx, setKey, anys(removeSet)...)
		}
		if len(addSet) > 0 {
			p.SAdd(ctx, setKey, anys(addSet)...)
		}
	})
}

func setOf(keys []string) map[string]bool {
	all := make(map[string]bool, len(keys))
	for _, key := range keys {
		all[key] = true
	}
	return all
}

// difference returns the keys that others lack.
func difference(keys, others []string) (left []string) {
	has := setOf(others)
	for _, key := range keys {
		if !has[key] {
			left = append(left, key)
		}
	}
	return left
}

// intersection returns the keys that are in others too.
func intersection(keys []string, others map[string]bool) (left []string) {
	for _, key := range keys {
		if others[key] {
			left = append(left, key)
		}
	}
	return left
}

// anys returns the keys as arguments of a command.
func anys(keys []string) []any {
	all := make([]any, len(keys))
	for i, key := range keys {
		all[i] = key
	}
	return all
}

// renewBindings renews the bindings that have sessions, and writes those that were made
// while Redis was away. If Redis has another server for a key, later callers go there;
// sessions stay. But where this relay has a publisher, it replaces a binding that nothing has
// proven: that may be from a pick which had given up before Redis executed its claim.
func (b *Balancer) renewBindings(ctx context.Context) error {
	type renewal struct {
		balancer.Binding
		server   string // its key
		proxyKey bool
		cmd      *goredis.Cmd
	}
	var all []renewal
	var due []announcement
	snap := b.registry.Snapshot()
	bindings := b.memory.Bindings()
	proxyKeys := b.proxyKeys.ofBindings(bindings)
	for _, bound := range bindings {
		// A backend that does not answer probes may be well for other relays, which
		// learn from the renewal that its publisher goes on.
		if at, ok := snap.Find(bound.At); ok && (!at.Down || !at.Gone && bound.Published) {
			all = append(all, renewal{Binding: bound, server: b.names.keyOf(at)})
			for _, proxyKey := range proxyKeys[bound.Key] {
				other := bound
				other.Key = balancer.AffinityKey{Stream: proxyKey}
				all = append(all, renewal{Binding: other, server: b.names.keyOf(at), proxyKey: true})
			}
		}
	}
	for batch := range slices.Chunk(all, renewBatch) {
		err := b.pipeline(ctx, func(p goredis.Pipeliner) {
			for i := range batch {
				r := &batch[i]
				args := b.claimArgs(r.server, "", r.Proven, r.Published)
				if r.Published {
					args = append(args, b.renewedTTL.Milliseconds(), b.bindTTL.Milliseconds())
				}
				r.cmd = claimScript.Eval(ctx, p, []string{bindingKey(r.Key)}, args...)
			}
		})
		if err != nil {
			return err
		}
		now := time.Now()
		for _, r := range batch {
			c, err := readClaim(r.cmd)
			if err != nil {
				continue // the key has another type
			}
			if c.key != r.server {
				at, ok := b.names.find(snap, c.key)
				if !ok || at.Down {
					continue // the next pick replaces it
				}
				b.memory.Bind(r.Key, at.ID)
				r.At, r.Published = at.ID, false
			}
			b.confirmedKeys.add(r.Key, now)
			if !r.proxyKey && (r.Proven || r.Published) && b.announcer.live.due(r.Key, r.At, r.Published) {
				due = append(due, announcement{r.Key, c.key, r.Published})
			}
		}
	}
	b.announcer.announce(due)
	return nil
}
