package redis

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// entryCache is what this relay knows of the servers' entries. Only run uses it.
type entryCache struct {
	entries map[string]*entry // by key
	// cursor is where the next SSCAN of the set begins, 0 for its beginning.
	cursor uint64
	// published are the keys that this relay has written, with the backend's Expires.
	published map[string]time.Time
	// missed counts the rounds in which a shared backend had no entry.
	missed map[backend.ID]int
	// logged is when refused entries were last logged.
	logged time.Time
}

// goneAfter is in how many rounds an entry must be missing before its backend is removed.
// A Redis that lost its data is filled again within two.
const goneAfter = 3

// logInterval is the least time between two lines about what others have written.
const logInterval = time.Minute

// sync is one round: it learns the servers that others have written, writes this relay's,
// follows the operators' orders, and exchanges the bindings that have sessions.
func (b *Balancer) sync(ctx context.Context) error {
	now := time.Now()
	maps.Copy(b.cache.published, b.handover.takePublished())
	b.confirmedKeys.sweep(now)
	b.misses.sweep(now)
	ix, err := b.read(ctx, now)
	if err != nil {
		return err
	}
	b.logRefused(ix, b.learn(now), now)
	if err := b.publish(ctx, ix, now); err != nil {
		return err
	}
	if err := b.syncOrders(ctx); err != nil {
		return err
	}
	if err := b.syncSecret(ctx, now); err != nil {
		return err
	}
	return b.exchange(ctx)
}

// logRefused logs what is wrong with the entries, in one line per logInterval.
func (b *Balancer) logRefused(ix index, refused []backend.Refusal, now time.Time) {
	if ix.arrayComplete && len(refused) == 0 || now.Sub(b.cache.logged) < logInterval {
		return
	}
	b.cache.logged = now
	fields := []any{"entries_read", len(b.cache.entries)}
	if !ix.arrayComplete {
		fields = append(fields, "array_longer_than_bytes", maxArray)
	}
	if len(refused) > 0 {
		first := refused[0]
		fields = append(fields, "refused", len(refused), "first", string(first.New.ID), "address", first.New.Addr, "error", first.Err)
	}
	b.log.Warn("shared state lists servers that cannot be used", fields...)
}

// pipeline sends commands in one round trip. It ignores missing keys and keys of another
// type, which the caller sees in the commands.
func (b *Balancer) pipeline(ctx context.Context, fill func(goredis.Pipeliner)) error {
	limited, cancel := context.WithTimeout(ctx, b.waits.sync)
	defer cancel()
	p := b.client.Pipeline()
	fill(p)
	if p.Len() == 0 {
		return nil
	}
	all, _ := p.Exec(limited)
	for _, cmd := range all {
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) && isOutage(err) {
			return err
		}
	}
	return nil
}

// learn brings the registry up to date with the entries. There is one backend per address:
// the newest entry is of the process that listens there now, older ones are names that it
// had before a restart. A backend that this relay has from its operator or by heartbeat
// stays as it is, unless its heartbeats have ended and another process at its address
// sends some to another relay.
func (b *Balancer) learn(now time.Time) (refused []backend.Refusal) {
	snap := b.registry.Snapshot()
	taken := map[netip.AddrPort]backend.Backend{}
	for _, own := range snap.Backends {
		if own.Source != backend.SourceShared && own.Addr.IsValid() {
			taken[own.Addr] = own
		}
	}
	aliases, written := map[string]backend.ID{}, map[backend.ID]string{}
	present := map[backend.ID]bool{}
	var changes []backend.Change
	for _, e := range b.cache.newest() {
		at, isTaken := taken[e.backend.Addr]
		if isTaken && at.ID != e.backend.ID && b.takesOver(e, at, now) {
			next := successor(at, e.backend, e.expires(b.ttl))
			changes = append(changes, backend.Change{Old: at, New: next})
			taken[next.Addr], present[next.ID] = next, true
			continue
		}
		switch {
		case !isTaken || at.ID == e.backend.ID:
			if !isTaken {
				taken[e.backend.Addr], present[e.backend.ID] = e.backend, true
			}
			if c, ok := b.refresh(snap, e, now); ok {
				changes = append(changes, c)
			}
		case ownKey(at) != e.key:
			aliases[e.key] = at.ID
			if _, has := written[at.ID]; !has && at.Source == backend.SourceStatic && at.Registration == nil &&
				e.Server != staticServer {
				written[at.ID] = e.key
			}
		}
	}
	b.names.setAliases(aliases, written)
	for _, r := range b.registry.Merge(append(changes, b.removals(snap, present, taken)...), now) {
		if e := b.cache.entries[serverKey(r.New.ID)]; e != nil {
			e.discard() // until it is read again
		}
		refused = append(refused, r)
	}
	return refused
}

// takesOver reports whether an entry is of a process that has taken over the address of a
// backend that registered here: the backend's heartbeats have ended, and those of the
// process go to another relay or to SRS's proxy.
func (b *Balancer) takesOver(e *entry, own backend.Backend, now time.Time) bool {
	return own.Source == backend.SourceRegistered && own.Late(now) && e.expires(b.ttl).After(now)
}

// successor returns the backend that replaces another one at the same address. It keeps
// what probes have found there, but not a drain, as when a server restarts and registers
// here again.
func successor(old, next backend.Backend, expires time.Time) backend.Backend {
	next.Down, next.Suspect, next.KeyLen, next.Answered = old.Down, old.Suspect, old.KeyLen, old.Answered
	next.Expires = expires
	return next
}

// refresh returns the change that an entry, as a sign of life, makes to its backend, if it
// makes one.
func (b *Balancer) refresh(snap *backend.Snapshot, e *entry, now time.Time) (c backend.Change, ok bool) {
	expires := e.expires(b.ttl)
	old, known := snap.Find(e.backend.ID)
	next := old
	_, own := b.cache.published[e.key]
	switch {
	case !known && own:
		return c, false // removed here: publish removes the entry
	case !known:
		next = e.backend
	case next.Source == backend.SourceShared && next.Addr != e.backend.Addr:
		next = e.backend
	case next.Source == backend.SourceRegistered && !next.Late(now), next.Source == backend.SourceStatic:
		return c, false
	case expires.Sub(next.Expires) < b.ttl/10:
		return c, false // or each backend would cost a snapshot per second
	}
	// A backend whose heartbeats now go to another relay becomes a shared one.
	next.Source, next.Expires, next.Weight = backend.SourceShared, expires, max(next.Weight, 1)
	// If a heartbeat or the answer to a probe changes the backend first, the next round
	// decides again.
	return backend.Change{Old: old, New: next}, true
}

// removals returns the removals of shared backends: of those whose entry has been missing
// for goneAfter rounds, unless sessions run there, and at once of those at whose address
// there is another server now.
func (b *Balancer) removals(snap *backend.Snapshot, present map[backend.ID]bool, taken map[netip.AddrPort]backend.Backend) (changes []backend.Change) {
	missed := map[backend.ID]int{}
	var loads map[backend.ID]balancer.Load
	for _, old := range snap.Backends {
		if old.Source != backend.SourceShared || present[old.ID] {
			continue
		}
		if loads == nil {
			loads = b.memory.Loads()
		}
		n := b.cache.missed[old.ID] + 1
		now, other := taken[old.Addr]
		switch {
		case other && now.ID != old.ID, n >= goneAfter && (loads[old.ID].Sessions == 0 || old.Down):
			changes = append(changes, backend.Change{Old: old})
		default:
			missed[old.ID] = n
		}
	}
	b.cache.missed = missed
	return changes
}
