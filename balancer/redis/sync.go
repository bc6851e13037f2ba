package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/netip"
	"slices"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
)

// register is what the background knows of the servers' entries. It belongs
// to the loop.
type register struct {
	// seen is when each entry was last seen to change.
	seen map[string]sighting
	// published is what this relay has written, and the Expires of then.
	published map[string]time.Time
	// missed counts the rounds in which a shared backend's entry was gone.
	missed map[backend.ID]int
}

type sighting struct{ update, at time.Time }

// goneAfter is in how many rounds an entry must be missing before its backend
// is forgotten: a Redis that lost its memory is filled again within two.
const goneAfter = 3

// entry is a server's entry as it was read.
type entry struct {
	key  string
	left time.Duration // until it expires, negative for never
	record
	backend backend.Backend
	fit     bool // the backend can be used
}

// index is which servers there are according to Redis.
type index struct {
	array, set []string
	entries    []entry // newest first
	alive      map[string]entry
}

// sync learns the servers that others have written, and writes this relay's.
func (b *Balancer) sync(ctx context.Context) error {
	now := time.Now()
	b.fresh.sweep(now)
	b.misses.sweep(now)
	ix, err := b.read(ctx, now)
	if err != nil {
		return err
	}
	b.learn(ix, now)
	return b.publish(ctx, ix, now)
}

func (b *Balancer) read(ctx context.Context, now time.Time) (index, error) {
	ix := index{alive: map[string]entry{}}
	var array *goredis.StringCmd
	var set *goredis.StringSliceCmd
	err := b.pipeline(ctx, func(p goredis.Pipeliner) {
		array, set = p.Get(ctx, arrayKey), p.SMembers(ctx, setKey)
	})
	if err != nil {
		return ix, err
	}
	_ = json.Unmarshal([]byte(array.Val()), &ix.array) // what is no array lists nobody
	ix.set = set.Val()
	keys := slices.Concat(ix.array, ix.set)
	slices.Sort(keys)
	keys = slices.Compact(keys)
	texts, lefts := make([]*goredis.StringCmd, len(keys)), make([]*goredis.DurationCmd, len(keys))
	err = b.pipeline(ctx, func(p goredis.Pipeliner) {
		for i, key := range keys {
			texts[i], lefts[i] = p.Get(ctx, key), p.PTTL(ctx, key)
		}
	})
	if err != nil {
		return ix, err
	}
	for i, key := range keys {
		if texts[i].Err() != nil {
			continue
		}
		e := entry{key: key, left: lefts[i].Val()}
		if e.record, err = parseRecord(texts[i].Val()); err == nil {
			e.backend, err = e.record.backend(now)
		}
		e.fit = err == nil && serverKey(e.backend.ID) == key
		ix.alive[key] = e
		ix.entries = append(ix.entries, e)
	}
	slices.SortFunc(ix.entries, func(a, b entry) int {
		return cmp.Or(b.UpdateAt.Compare(a.UpdateAt), cmp.Compare(a.key, b.key))
	})
	return ix, nil
}

// pipeline sends commands in one round trip. That a key is missing, or is
// something else, is no failure of the whole.
func (b *Balancer) pipeline(ctx context.Context, fill func(goredis.Pipeliner)) error {
	limited, cancel := context.WithTimeout(ctx, syncWait)
	defer cancel()
	p := b.client.Pipeline()
	fill(p)
	if p.Len() == 0 {
		return nil
	}
	all, _ := p.Exec(limited)
	for _, cmd := range all {
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) && ofStore(err) {
			return err
		}
	}
	return nil
}

// learn brings the registry up to what Redis says. One backend per address:
// the newest entry is the process that listens there now, the others are
// names of it from before a restart. A backend that this relay has from its
// operator or by heartbeat stays what it is.
func (b *Balancer) learn(ix index, now time.Time) {
	taken := map[netip.AddrPort]backend.Backend{}
	for _, own := range b.registry.Snapshot().Backends {
		if own.Source != backend.Shared {
			taken[own.Addr] = own
		}
	}
	aliases, written := map[string]backend.ID{}, map[backend.ID]string{}
	present := map[backend.ID]bool{}
	for _, e := range ix.entries {
		if !e.fit {
			continue
		}
		at, isTaken := taken[e.backend.Addr]
		switch {
		case !isTaken:
			taken[e.backend.Addr] = e.backend
			present[e.backend.ID] = true
			b.hear(e, now)
		case at.ID == e.backend.ID:
			b.hear(e, now)
		case ownKey(at) != e.key:
			aliases[e.key] = at.ID
			if _, has := written[at.ID]; !has && at.Source == backend.Static && at.Registration == nil &&
				e.Server != staticServer {
				written[at.ID] = e.key
			}
		}
	}
	b.names.alias(aliases, written)
	b.forget(present, taken)
	maps.DeleteFunc(b.register.seen, func(key string, _ sighting) bool { _, ok := ix.alive[key]; return !ok })
}

// hear takes an entry as a sign of life. The time counts from when the relay
// saw the entry change, so that the clocks of other hosts do not matter.
func (b *Balancer) hear(e entry, now time.Time) {
	s := b.register.seen[e.key]
	if !e.UpdateAt.Equal(s.update) || s.at.IsZero() {
		s = sighting{e.UpdateAt, now}
		b.register.seen[e.key] = s
	}
	expires := s.at.Add(b.ttl)
	if left := now.Add(e.left); e.left >= 0 && left.Before(expires) {
		expires = left
	}
	seen, known := b.registry.Snapshot().Find(e.backend.ID)
	old := seen
	_, own := b.register.published[e.key]
	switch {
	case !known && own:
		return // removed here: publish takes it out
	case !known:
		old = e.backend
	case old.Source == backend.Shared && old.Addr != e.backend.Addr:
		old = e.backend
	case old.Source == backend.Registered && !old.Late(now), old.Source == backend.Static:
		return
	case expires.Sub(old.Expires) < b.ttl/10:
		return // a snapshot a second for each would be many
	}
	// One whose heartbeats now go to another relay is shared from here on.
	old.Source, old.Expires = backend.Shared, expires
	// A heartbeat or a probe's answer may have come in between; then the next
	// round decides anew.
	b.registry.Swap(seen, old)
}

// forget removes shared backends whose entry is gone, unless sessions run
// there, and at once those whose address has another process now.
func (b *Balancer) forget(present map[backend.ID]bool, taken map[netip.AddrPort]backend.Backend) {
	missed := map[backend.ID]int{}
	loads := b.memory.Loads()
	for _, old := range b.registry.Snapshot().Backends {
		if old.Source != backend.Shared || present[old.ID] {
			continue
		}
		n := b.register.missed[old.ID] + 1
		now, other := taken[old.Addr]
		switch {
		case other && now.ID != old.ID, n >= goneAfter && (loads[old.ID].Sessions == 0 || old.Down):
			b.registry.Remove(old.ID)
		default:
			missed[old.ID] = n
		}
	}
	b.register.missed = missed
}
