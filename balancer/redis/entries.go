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

// Bounds of what is read in a round, whatever others have written: a Redis
// that lies costs time and memory, but little of both.
const (
	// maxRecord is the most, in bytes, that is read of a server's entry: more
	// than the longest one that passes Registration.Check.
	maxRecord = 32 << 10
	// maxArray likewise of the array of servers: 5,000 keys of SRS's proxy.
	maxArray = 512 << 10
	// maxKey is the longest key, in bytes, that can be a server's: its name is
	// three values of 128 bytes.
	maxKey = 512
	// maxListed is how many keys an index is read for; of a longer set another
	// part is read in the next round.
	maxListed = 2 * backend.MaxRegistered
	// maxEntries is how many entries are kept, usable or not.
	maxEntries = 2 * backend.MaxRegistered
	// maxReads is how many entries are read in one round: of more than that
	// each is read every few rounds. Half of the round is left to those that
	// have not been read yet.
	maxReads = 1024
)

// entry is a server's entry as it was last read. It belongs to the loop.
type entry struct {
	key  string
	read time.Time
	// left is until it expires, counted from read, negative for never.
	left time.Duration
	// changed is when its update_at was last seen to change.
	changed time.Time
	record  // empty if it is of no use
	backend backend.Backend
	fit     bool // the backend can be used
}

// expires is when an entry is no sign of life any more. The time counts from
// when the relay saw it change, so that the clocks of other hosts do not
// matter.
func (e *entry) expires(ttl time.Duration) time.Time {
	at := e.changed.Add(ttl)
	if left := e.read.Add(e.left); e.left >= 0 && left.Before(at) {
		return left
	}
	return at
}

// drop keeps of an entry that is of no use only that it has been read.
func (e *entry) drop() { e.record, e.backend, e.fit = record{}, backend.Backend{}, false }

// index is which servers there are according to Redis.
type index struct {
	array, set []string
	// arrayWhole and setWhole say that nothing was left out of them.
	arrayWhole, setWhole bool
	dead                 map[string]bool // keys that were read and are not there
}

// read brings the entries up to date.
func (b *Balancer) read(ctx context.Context, now time.Time) (index, error) {
	ix, err := b.readIndex(ctx)
	if err != nil {
		return ix, err
	}
	keys := b.register.due(&ix)
	texts, lefts := make([]*goredis.StringCmd, len(keys)), make([]*goredis.DurationCmd, len(keys))
	err = b.pipeline(ctx, func(p goredis.Pipeliner) {
		for i, key := range keys {
			texts[i], lefts[i] = p.GetRange(ctx, key, 0, maxRecord), p.PTTL(ctx, key)
		}
	})
	if err != nil {
		return ix, err
	}
	for i, key := range keys {
		if texts[i].Err() != nil || texts[i].Val() == "" {
			delete(b.register.entries, key)
			ix.dead[key] = true
			continue
		}
		b.register.note(key, texts[i].Val(), lefts[i].Val(), now, b.remote)
	}
	return ix, nil
}

// readIndex reads which keys the two indexes list. It reads parts of them, so
// that their length does not matter.
func (b *Balancer) readIndex(ctx context.Context) (index, error) {
	ix := index{dead: map[string]bool{}}
	var array *goredis.StringCmd
	var set *goredis.ScanCmd
	from := b.register.cursor
	err := b.pipeline(ctx, func(p goredis.Pipeliner) {
		array, set = p.GetRange(ctx, arrayKey, 0, maxArray), p.SScan(ctx, setKey, from, "", maxListed)
	})
	if err != nil {
		return ix, err
	}
	ix.array, ix.arrayWhole = keysIn(array.Val())
	ix.set, b.register.cursor = set.Val()
	ix.setWhole = set.Err() == nil && from == 0 && b.register.cursor == 0
	return ix, nil
}

// keysIn returns the keys in a JSON array, as far as it can be read, and whether
// that is all of it. Any other text lists no server.
func keysIn(text string) (keys []string, whole bool) {
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
	// What is short and no array is not worth keeping.
	return keys, len(text) <= maxArray
}

// due returns the keys to read in this round: those that are listed and have
// not been read, and those that were read longest ago.
func (r *register) due(ix *index) []string {
	listed, fresh := map[string]bool{}, []string{}
	for _, key := range slices.Concat(ix.array, ix.set) {
		if listed[key] || len(key) > maxKey || !strings.HasPrefix(key, serverPrefix) {
			continue
		}
		listed[key] = true
		if r.entries[key] == nil {
			fresh = append(fresh, key)
		}
	}
	if ix.arrayWhole && ix.setWhole {
		maps.DeleteFunc(r.entries, func(key string, _ *entry) bool { return !listed[key] })
	}
	known := slices.SortedFunc(maps.Values(r.entries), func(a, b *entry) int {
		return cmp.Or(a.read.Compare(b.read), cmp.Compare(a.key, b.key))
	})
	if len(fresh)+len(known) > maxReads {
		fresh = fresh[:min(len(fresh), max(maxReads/2, maxReads-len(known)))]
	}
	r.makePlace(known, len(known)+len(fresh)-maxEntries)
	if places := maxEntries - len(r.entries); len(fresh) > places {
		fresh = fresh[:places]
	}
	keys := fresh
	for _, e := range known {
		if len(keys) == maxReads {
			break
		}
		if r.entries[e.key] != nil {
			keys = append(keys, e.key)
		}
	}
	return keys
}

// makePlace forgets up to n entries that are of no use, so that others can be
// read in their place.
func (r *register) makePlace(known []*entry, n int) {
	for _, e := range known {
		if n <= 0 {
			return
		}
		if !e.fit {
			delete(r.entries, e.key)
			n--
		}
	}
}

// note takes what was read of a key.
func (r *register) note(key, text string, left time.Duration, now time.Time, elsewhere bool) {
	e := r.entries[key]
	if e == nil {
		e = &entry{key: key, changed: now}
		r.entries[key] = e
	}
	e.read, e.left = now, left
	was := e.UpdateAt
	var err error
	if len(text) > maxRecord {
		e.drop()
		return
	}
	if e.record, err = parseRecord(text); err == nil {
		e.backend, err = e.record.backend(now, elsewhere)
	}
	if e.fit = err == nil && serverKey(e.backend.ID) == key; !e.fit {
		e.drop()
		return
	}
	if !e.UpdateAt.Equal(was) {
		e.changed = now
	}
}

// newest returns the entries that can be used, the newest first.
func (r *register) newest() []*entry {
	var fit []*entry
	for _, e := range r.entries {
		if e.fit {
			fit = append(fit, e)
		}
	}
	slices.SortFunc(fit, func(a, b *entry) int {
		return cmp.Or(b.UpdateAt.Compare(a.UpdateAt), cmp.Compare(a.key, b.key))
	})
	return fit
}
