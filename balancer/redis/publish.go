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

// renewBatch bounds a pipeline: ten thousand scripts in one would outlast
// its deadline.
const renewBatch = 500

// publish writes the backends that this relay has from its operator or by
// heartbeat, and takes out what it wrote of those that are gone. Backends that
// others wrote are theirs to keep alive: if two relays did it for each other,
// none would ever die. Likewise one that is only late or down here may be well
// for another relay: its entry is left to its TTL.
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
	for key := range b.register.published {
		if !known[key] {
			gone = append(gone, key)
		}
	}
	if err := b.reindex(ctx, ix, array, set, gone); err != nil {
		return err
	}
	b.register.published = own
	return nil
}

// due returns the key under which this relay writes a backend, "" for none,
// for how long, and whether that is to be done now.
func (b *Balancer) due(known backend.Backend, now time.Time) (key string, ttl time.Duration, due bool) {
	key = ownKey(known)
	e, there := b.register.entries[key]
	switch {
	case known.Source == backend.SourceRegistered && !known.Late(now):
		last, wrote := b.register.published[key]
		return key, max(known.Expires.Sub(now), time.Second), !there || !wrote || !last.Equal(known.Expires)
	case known.Source == backend.SourceStatic && !known.Down && b.names.of(known) == key:
		return key, b.ttl, !there || e.read.Add(e.left).Sub(now) < b.ttl*2/3
	}
	return "", 0, false
}

func hasRTMP(b backend.Backend) bool { return b.Registration != nil && len(b.Registration.RTMP) > 0 }

// reindex makes array and set list what this relay has written, and nothing
// that is gone. SRS's proxy does the same, in two steps: what it loses of a
// relay's additions is put in again a second later.
func (b *Balancer) reindex(ctx context.Context, ix index, array, set, gone []string) error {
	ours, out := setOf(set), setOf(gone)
	for key := range ix.dead {
		if !ours[key] {
			out[key] = true
		}
	}
	inArray, outArray := difference(array, ix.array), both(ix.array, out)
	inSet, outSet := difference(set, ix.set), both(ix.set, out)
	if !ix.arrayWhole {
		// It is not the proxy's any more: neither is it read as a whole, nor
		// written.
		inArray, outArray = nil, nil
	}
	return b.pipeline(ctx, func(p goredis.Pipeliner) {
		for _, key := range gone {
			p.Del(ctx, key)
		}
		if len(inArray)+len(outArray) > 0 {
			args := append([]any{len(outArray)}, anys(outArray)...)
			listScript.Eval(ctx, p, []string{arrayKey}, append(args, anys(inArray)...)...)
		}
		if len(outSet) > 0 {
			p.SRem(ctx, setKey, anys(outSet)...)
		}
		if len(inSet) > 0 {
			p.SAdd(ctx, setKey, anys(inSet)...)
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

// both returns the keys that are in others too.
func both(keys []string, others map[string]bool) (left []string) {
	for _, key := range keys {
		if others[key] {
			left = append(left, key)
		}
	}
	return left
}

func anys(keys []string) []any {
	all := make([]any, len(keys))
	for i, key := range keys {
		all[i] = key
	}
	return all
}

// renewBindings renews the bindings of keys with sessions, and writes
// those that were made while Redis was away. Where Redis has another answer,
// later callers follow it; sessions stay.
func (b *Balancer) renewBindings(ctx context.Context) error {
	type renewal struct {
		balancer.Binding
		key     string
		spelled bool
		cmd     *goredis.Cmd
	}
	var all []renewal
	var due []announcement
	snap := b.registry.Snapshot()
	bindings := b.memory.Bindings()
	spelled := b.proxyKeys.ofBindings(bindings)
	for _, bound := range bindings {
		// One that lets probes pass may be well for others, who learn from
		// this that its publisher goes on.
		if at, ok := snap.Find(bound.At); ok && (!at.Down || !at.Gone && bound.Published) {
			all = append(all, renewal{Binding: bound, key: b.names.of(at)})
			for _, name := range spelled[bound.Key] {
				other := bound
				other.Key = balancer.AffinityKey{Stream: name}
				all = append(all, renewal{Binding: other, key: b.names.of(at), spelled: true})
			}
		}
	}
	for batch := range slices.Chunk(all, renewBatch) {
		err := b.pipeline(ctx, func(p goredis.Pipeliner) {
			for i := range batch {
				r, ttl := &batch[i], b.firstTTL
				if r.Proven {
					ttl = b.bindTTL
				}
				r.cmd = claimScript.Eval(ctx, p, []string{bindingKey(r.Key)}, r.key, "", ttl.Milliseconds(), b.firstTTL.Milliseconds())
			}
		})
		if err != nil {
			return err
		}
		now := time.Now()
		for _, r := range batch {
			c, err := readClaim(r.cmd)
			if err != nil {
				continue // the key is something else
			}
			if c.key != r.key {
				at, ok := b.names.find(snap, c.key)
				if !ok || at.Down {
					continue // the next pick replaces it
				}
				b.memory.Bind(r.Key, at.ID)
				r.At, r.Published = at.ID, false
			}
			b.confirmedKeys.add(r.Key, now)
			if !r.spelled && (r.Proven || r.Published) && b.live.live.due(r.Key, r.At, r.Published) {
				due = append(due, announcement{r.Key, c.key, r.Published})
			}
		}
	}
	b.live.announce(due)
	return nil
}
