package redis

import (
	"context"
	"errors"
	"net/netip"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// register is what the background knows of the servers' entries. It belongs
// to the loop.
type register struct {
	// entries are those that are there, by their keys.
	entries map[string]*entry
	// cursor is where the walk over the set goes on, 0 for its beginning.
	cursor uint64
	// published is what this relay has written, and the Expires of then.
	published map[string]time.Time
	// missed counts the rounds in which a shared backend's entry was gone.
	missed map[backend.ID]int
	// said is when what others have written wrongly was last in the log.
	logged time.Time
}

// goneAfter is in how many rounds an entry must be missing before its backend
// is forgotten: a Redis that lost its memory is filled again within two.
const goneAfter = 3

// logInterval is the least time between two lines about what others have written.
const logInterval = time.Minute

// sync learns the servers that others have written, and writes this relay's;
// likewise the bindings of live streams.
func (b *Balancer) sync(ctx context.Context) error {
	now := time.Now()
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
	return b.exchange(ctx)
}

// logRefused puts what is wrong with the entries into the log, all of it in one line
// and not often.
func (b *Balancer) logRefused(ix index, refused []backend.Refusal, now time.Time) {
	if ix.arrayWhole && len(refused) == 0 || now.Sub(b.register.logged) < logInterval {
		return
	}
	b.register.logged = now
	what := []any{"entries_read", len(b.register.entries)}
	if !ix.arrayWhole {
		what = append(what, "array_longer_than_bytes", maxArray)
	}
	if len(refused) > 0 {
		first := refused[0]
		what = append(what, "refused", len(refused), "first", string(first.New.ID), "address", first.New.Addr, "error", first.Err)
	}
	b.log.Warn("shared state lists servers that are not taken", what...)
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
		if err := cmd.Err(); err != nil && !errors.Is(err, goredis.Nil) && isOutage(err) {
			return err
		}
	}
	return nil
}

// learn brings the registry up to what Redis says. One backend per address:
// the newest entry is the process that listens there now, the others are
// names of it from before a restart. A backend that this relay has from its
// operator or by heartbeat stays what it is, unless its heartbeats have ceased
// and another process at its address gives them elsewhere.
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
	for _, e := range b.register.newest() {
		at, isTaken := taken[e.backend.Addr]
		if isTaken && at.ID != e.backend.ID && b.succeeds(e, at, now) {
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
	b.names.alias(aliases, written)
	for _, r := range b.registry.Merge(append(changes, b.removals(snap, present, taken)...), now) {
		if e := b.register.entries[serverKey(r.New.ID)]; e != nil {
			e.drop() // until it is read again
		}
		refused = append(refused, r)
	}
	return refused
}

// succeeds reports whether an entry is of the process that has taken over the
// address of a backend that registered here: the heartbeats of the one have
// ceased, those of the other go on, at another relay or at SRS's proxy.
func (b *Balancer) succeeds(e *entry, own backend.Backend, now time.Time) bool {
	return own.Source == backend.SourceRegistered && own.Late(now) && e.expires(b.ttl).After(now)
}

// successor is the backend that takes the place of one at the same address.
// What probes have found out of the address holds for it too; a drain does not,
// as for a server that restarts and registers here again.
func successor(old, next backend.Backend, expires time.Time) backend.Backend {
	next.Down, next.Suspect, next.KeyLen, next.Answered = old.Down, old.Suspect, old.KeyLen, old.Answered
	next.Expires = expires
	return next
}

// refresh takes an entry as a sign of life. It returns the change that it makes,
// if it makes one.
func (b *Balancer) refresh(snap *backend.Snapshot, e *entry, now time.Time) (c backend.Change, ok bool) {
	expires := e.expires(b.ttl)
	seen, known := snap.Find(e.backend.ID)
	next := seen
	_, own := b.register.published[e.key]
	switch {
	case !known && own:
		return c, false // removed here: publish takes it out
	case !known:
		next = e.backend
	case next.Source == backend.SourceShared && next.Addr != e.backend.Addr:
		next = e.backend
	case next.Source == backend.SourceRegistered && !next.Late(now), next.Source == backend.SourceStatic:
		return c, false
	case expires.Sub(next.Expires) < b.ttl/10:
		return c, false // a snapshot a second for each would be many
	}
	// One whose heartbeats now go to another relay is shared from here on.
	next.Source, next.Expires, next.Weight = backend.SourceShared, expires, max(next.Weight, 1)
	// A heartbeat or a probe's answer may come in between; then the next round
	// decides anew.
	return backend.Change{Old: seen, New: next}, true
}

// removals returns the removal of shared backends whose entry is gone, unless
// sessions run there, and at once of those whose address has another process
// now.
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
		n := b.register.missed[old.ID] + 1
		now, other := taken[old.Addr]
		switch {
		case other && now.ID != old.ID, n >= goneAfter && (loads[old.ID].Sessions == 0 || old.Down):
			changes = append(changes, backend.Change{Old: old})
		default:
			missed[old.ID] = n
		}
	}
	b.register.missed = missed
	return changes
}
