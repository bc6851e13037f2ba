package redis

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
)

// Bounds of what is read in a round, so that what others write to Redis takes little time
// and memory.
const (
	// maxRecord is the longest entry of a server that is read, in bytes: more than the
	// longest one that passes Registration.Check.
	maxRecord = 32 << 10
	// maxArray is the longest array of servers that is read, in bytes. The keys of some
	// thousand servers fit.
	maxArray = 512 << 10
	// maxKey is the longest key of a server that is read, in bytes: more than the
	// three values of a registration that make its name.
	maxKey = 512
	// maxListed is how many keys of an index are read. Of a longer set another part is
	// read in the next round.
	maxListed = 2 * backend.MaxRegistered
	// maxEntries is how many entries are kept, whether usable or not.
	maxEntries = 2 * backend.MaxRegistered
	// maxReads is how many entries are read in one round. If there are more, each is
	// read every few rounds. Up to half of the reads are of new entries.
	maxReads = 1024
)

// entry is a server's entry as it was last read. Only run uses it.
type entry struct {
	key    string
	readAt time.Time
	ttl    time.Duration // at readAt, negative for none
	// changedAt is when its update_at was last seen to change.
	changedAt time.Time
	record    // empty if the entry is not usable
	backend   backend.Backend
	usable    bool
}

// expires is until when an entry is a sign of life: for a time after it changed, at most
// as long as it stays in Redis. The time of the change is that of this relay's clock, so
// that the clocks of other hosts do not matter.
func (e *entry) expires(ttl time.Duration) time.Time {
	at := e.changedAt.Add(ttl)
	if gone := e.readAt.Add(e.ttl); e.ttl >= 0 && gone.Before(at) {
		return gone
	}
	return at
}

// discard marks an entry as unusable, and keeps that it has been read.
func (e *entry) discard() { e.record, e.backend, e.usable = record{}, backend.Backend{}, false }

// index is the keys of servers that Redis lists.
type index struct {
	array, set []string
	// arrayComplete and setComplete mean that all of their keys were read.
	arrayComplete, setComplete bool
	missing                    map[string]bool // listed keys that have no entry
}

// read reads the indexes and some of the entries into the cache.
func (b *Balancer) read(ctx context.Context, now time.Time) (index, error) {
	ix, err := b.readIndex(ctx)
	if err != nil {
		return ix, err
	}
	keys := b.cache.keysToRead(&ix)
	texts, ttls := make([]*goredis.StringCmd, len(keys)), make([]*goredis.DurationCmd, len(keys))
	err = b.pipeline(ctx, func(p goredis.Pipeliner) {
		for i, key := range keys {
			texts[i], ttls[i] = p.GetRange(ctx, key, 0, maxRecord), p.PTTL(ctx, key)
		}
	})
	if err != nil {
		return ix, err
	}
	for i, key := range keys {
		if texts[i].Err() != nil || texts[i].Val() == "" {
			delete(b.cache.entries, key)
			ix.missing[key] = true
			continue
		}
		b.cache.store(key, texts[i].Val(), ttls[i].Val(), now, b.remote)
	}
	return ix, nil
}

// readIndex reads the array and the set, of which it reads parts if they are long.
func (b *Balancer) readIndex(ctx context.Context) (index, error) {
	ix := index{missing: map[string]bool{}}
	var array *goredis.StringCmd
	var set *goredis.ScanCmd
	cursor := b.cache.cursor
	err := b.pipeline(ctx, func(p goredis.Pipeliner) {
		array, set = p.GetRange(ctx, arrayKey, 0, maxArray), p.SScan(ctx, setKey, cursor, "", maxListed)
	})
	if err != nil {
		return ix, err
	}
	ix.array, ix.arrayComplete = keysIn(array.Val())
	ix.set, b.cache.cursor = set.Val()
	ix.setComplete = set.Err() == nil && cursor == 0 && b.cache.cursor == 0
	return ix, nil
}

// keysIn returns the keys in a JSON array, as far as it can be read, and whether those
// are all. Any other text contains no keys.
func keysIn(text string) (keys []string, complete bool) {
	if len(text) <= maxArray && json.Unmarshal([]byte(text), &keys) == nil {
		return keys, true
	}
	keys = nil
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	for len(keys) < maxListed {
		t, err := d.Token()
		if err != nil {
			break
		}
		if key, ok := t.(string); ok {
			keys = append(keys, key)
		}
	}
	// A short text that is no array may be overwritten.
	return keys, len(text) <= maxArray
}

// keysToRead returns the keys to read in this round: listed ones that have not been read
// yet, and those that were read longest ago.
func (c *entryCache) keysToRead(ix *index) []string {
	listed, fresh := map[string]bool{}, []string{}
	for _, key := range slices.Concat(ix.array, ix.set) {
		if listed[key] || len(key) > maxKey || !strings.HasPrefix(key, serverPrefix) {
			continue
		}
		listed[key] = true
		if c.entries[key] == nil {
			fresh = append(fresh, key)
		}
	}
	if ix.arrayComplete && ix.setComplete {
		maps.DeleteFunc(c.entries, func(key string, _ *entry) bool { return !listed[key] })
	}
	known := slices.SortedFunc(maps.Values(c.entries), func(a, b *entry) int {
		return cmp.Or(a.readAt.Compare(b.readAt), cmp.Compare(a.key, b.key))
	})
	if len(fresh)+len(known) > maxReads {
		fresh = fresh[:min(len(fresh), max(maxReads/2, maxReads-len(known)))]
	}
	c.evictUnusable(known, len(known)+len(fresh)-maxEntries)
	if places := maxEntries - len(c.entries); len(fresh) > places {
		fresh = fresh[:places]
	}
	keys := fresh
	for _, e := range known {
		if len(keys) == maxReads {
			break
		}
		if c.entries[e.key] != nil {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// evictUnusable removes up to n unusable entries, so that others can be read in their
// place.
func (c *entryCache) evictUnusable(known []*entry, n int) {
	for _, e := range known {
		if n <= 0 {
			return
		}
		if !e.usable {
			delete(c.entries, e.key)
			n--
		}
	}
}

// store stores what was read of a key. remote means that Redis is on another host.
func (c *entryCache) store(key, text string, ttl time.Duration, now time.Time, remote bool) {
	e := c.entries[key]
	if e == nil {
		e = &entry{key: key, changedAt: now}
		c.entries[key] = e
	}
	e.readAt, e.ttl = now, ttl
	before := e.UpdateAt
	var err error
	if len(text) > maxRecord {
		e.discard()
		return
	}
	if e.record, err = parseRecord(text); err == nil {
		e.backend, err = e.record.backend(now, remote)
	}
	if e.usable = err == nil && serverKey(e.backend.ID) == key; !e.usable {
		e.discard()
		return
	}
	if !e.UpdateAt.Equal(before) {
		e.changedAt = now
	}
}

// newest returns the usable entries, the newest first: those that this relay has seen change
// last, as the clocks of other hosts may be wrong.
func (c *entryCache) newest() []*entry {
	var usable []*entry
	for _, e := range c.entries {
		if e.usable {
			usable = append(usable, e)
		}
	}
	slices.SortFunc(usable, func(a, b *entry) int {
		return cmp.Or(b.changedAt.Compare(a.changedAt), b.UpdateAt.Compare(a.UpdateAt), cmp.Compare(a.key, b.key))
	})
	return usable
}
