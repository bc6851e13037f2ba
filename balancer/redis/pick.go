package redis

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// maxClaims is how often a pick claims a key. A claim fails if another relay has claimed
// the key in the meantime.
const maxClaims = 3

// probation is how long a server that was just learned, and has not answered a probe yet,
// counts as alive for the streams that Redis says it has.
const probation = 2 * time.Second

// errContested means that other relays kept changing a binding.
var errContested = errors.New("binding contested")

// Pick implements balancer.Balancer.
func (b *Balancer) Pick(ctx context.Context, q backend.Query) (backend.Target, error) {
	now := time.Now()
	group, stream := balancer.AffinityKeys(q)
	c, err := b.memory.Prefer(q, b.memory.Settings().Policy)
	switch {
	case err == nil && c.Bound && b.proxyKeys.known(q) && b.confirmedKeys.has(stream, now) && (q.Group == 0 || b.confirmedKeys.has(group, now)):
		return b.memory.Admit(q, c.Backend), nil
	case errors.Is(err, backend.ErrNoStream) && b.misses.has(absentKey(q), now):
		return backend.Target{}, err
	case !b.circuit.closed():
		return b.pickOffline(q)
	}
	limited, cancel := context.WithTimeout(ctx, b.waits.pick)
	defer cancel()
	a, err := b.askRedis(limited, q, c)
	switch {
	case err == nil:
		return b.admit(q, a, now), nil
	case errors.Is(err, backend.ErrNoStream):
		b.misses.add(absentKey(q), now)
		return backend.Target{}, err
	case errors.Is(err, backend.ErrNone):
		return backend.Target{}, err
	case ctx.Err() != nil:
		return backend.Target{}, ctx.Err() // the caller's deadline, not an outage
	case isOutage(err):
		b.circuit.open(err)
	}
	return b.pickOffline(q)
}

// pickOffline picks without Redis. A stream that has sessions here, or that a relay has
// announced, stays where it is. A new one goes where every relay would place it. Whether
// it has a publisher elsewhere is unknown, so players may create it.
func (b *Balancer) pickOffline(q backend.Query) (backend.Target, error) {
	c, err := b.preferOffline(q)
	if err != nil {
		return backend.Target{}, err
	}
	b.proxyKeys.note(q)
	return b.memory.Admit(q, c.Backend), nil
}

// preferOffline chooses without Redis. A member of a bonding group goes where its group is, and
// nowhere else; where its stream is counts only if the group is new.
func (b *Balancer) preferOffline(q backend.Query) (balancer.Choice, error) {
	c, err := b.memory.PreferAny(q, balancer.PolicyHash)
	group, stream := balancer.AffinityKeys(q)
	if errors.Is(err, balancer.ErrGroupElsewhere) || c.Bound && b.memory.HasSessions(group, c.Backend.ID) {
		return c, err
	}
	if at, ok := b.announced(group); ok && !serves(at, q) {
		return balancer.Choice{}, balancer.ErrGroupElsewhere
	} else if ok {
		return balancer.Choice{Backend: at, Why: "its bonding group was there when the relays last told each other", Bound: true}, nil
	}
	if c.ByGroup || c.Bound && b.memory.HasSessions(stream, c.Backend.ID) {
		return c, nil
	}
	if at, ok := b.announced(stream); ok && serves(at, q) && !b.memory.HasFailed(q, at.ID) {
		return balancer.Choice{Backend: at, Why: "the stream was there when the relays last told each other", Bound: true}, nil
	}
	return c, err
}

// answer is where Redis sends a query.
type answer struct {
	at backend.Backend
	// group and stream are where later callers of each go, "" for no change.
	group, stream backend.ID
}

// admit issues a lease for an answer.
func (b *Balancer) admit(q backend.Query, a answer, now time.Time) backend.Target {
	if _, known := b.registry.Snapshot().Find(a.at.ID); !known {
		b.registry.Merge([]backend.Change{{New: a.at}}, now)
	}
	t := b.memory.Admit(q, a.at)
	b.proxyKeys.note(q)
	bound := false
	defer func() {
		if !bound { // a panic: nobody else will release the lease
			b.memory.Report(backend.Outcome{Lease: t.Lease})
		}
	}()
	group, stream := balancer.AffinityKeys(q)
	if a.group != "" {
		b.memory.Bind(group, a.group)
		b.confirmedKeys.add(group, now)
		b.announcer.watch(group, a.group)
	}
	if a.stream != "" {
		b.memory.Bind(stream, a.stream)
		b.confirmedKeys.add(stream, now)
		b.announcer.watch(stream, a.stream)
	}
	bound = true
	return t
}

// askRedis returns where Redis sends a query. c is what this relay would choose, the zero
// Choice if it would choose nothing.
func (b *Balancer) askRedis(ctx context.Context, q backend.Query, c balancer.Choice) (a answer, err error) {
	group, stream := balancer.AffinityKeys(q)
	if !c.Bound {
		// Redis may have lost the binding of a publisher, which would outlive its announcement.
		if at, ok := b.withPublisher(q); ok {
			c.Backend = at
		}
	}
	if q.Group == 0 {
		a.at, a.stream, err = b.resolveStream(ctx, q, c.Backend, c.Bound)
		return a, err
	}
	want := c.Backend
	if !c.Bound { // a new group goes where the stream of its first member is
		switch at, found, err := b.lookup(ctx, stream, q); {
		case err != nil:
			return a, err
		case found:
			want = at
		}
	}
	if a.at, a.group, err = b.resolve(ctx, group, q, want); err != nil {
		return a, err
	}
	_, a.stream, err = b.resolveStream(ctx, q, a.at, true)
	return a, err
}

// resolve returns the server of a key, and binds the key to want if it is new. boundTo is
// where later callers go. It is "" if the key stays bound to a server to which only this
// caller cannot go.
func (b *Balancer) resolve(ctx context.Context, key balancer.AffinityKey, q backend.Query, want backend.Backend) (at backend.Backend, boundTo backend.ID, err error) {
	if want.ID == "" {
		at, found, err := b.lookup(ctx, key, q)
		switch {
		case err != nil || found:
			return at, at.ID, err
		case q.Publish || b.memory.Settings().PlayersCreate:
			return at, "", backend.ErrNone
		}
		return at, "", backend.ErrNoStream
	}
	wanted, stale := b.names.keyOf(want), ""
	for range maxClaims {
		c, err := b.claim(ctx, key, q.Publish, wanted, stale)
		if err != nil || c.key == wanted {
			return want, want.ID, err
		}
		at, usable, err := b.server(ctx, c.key, q)
		stays := err == nil && b.staysBound(key, at, c.left)
		if at.Down {
			// Another relay, whose probe was due earlier, may have found that it is back.
			b.registry.ProbeSoon(at.ID)
		}
		switch {
		case err != nil || usable && (stays || !b.memory.HasFailed(q, at.ID)):
			return at, at.ID, err
		case stays && key.Group != 0:
			// No other server has the sessions of the group.
			return backend.Backend{}, "", backend.ErrNone
		case stays:
			return want, "", nil
		}
		stale = c.key
	}
	return backend.Backend{}, "", errContested
}

// staysBound reports whether a key stays bound to a backend to which this caller cannot
// go, because it has sessions there. If the backend does not answer this relay's probes,
// only a publisher counts: one of this relay, or one elsewhere, because of which the
// binding was claimed or renewed recently. Nothing stays bound to a backend that is
// certainly gone.
func (b *Balancer) staysBound(key balancer.AffinityKey, at backend.Backend, left time.Duration) bool {
	young := left > b.bindTTL && left <= b.youngTTL
	switch {
	case at.ID == "" || at.Down && at.Gone:
		return false
	case left > b.renewedTTL && (at.Down || !young): // nothing has proven a young one
		return true
	case at.Down:
		return b.memory.HasPublisher(key, at.ID)
	}
	return b.memory.HasSessions(key, at.ID)
}

// lookup returns the server of a key, if there is one to which the query can go. It
// changes nothing.
func (b *Balancer) lookup(ctx context.Context, key balancer.AffinityKey, q backend.Query) (at backend.Backend, found bool, err error) {
	server, err := b.client.GetRange(ctx, bindingKey(key), 0, maxKey).Result()
	if err != nil || server == "" {
		return backend.Backend{}, false, err
	}
	return b.server(ctx, server, q)
}

// server returns the backend of a server's key, and whether the query can be sent there. A
// server that is draining or late keeps its streams.
func (b *Balancer) server(ctx context.Context, key string, q backend.Query) (at backend.Backend, usable bool, err error) {
	at, known := b.names.find(b.registry.Snapshot(), key)
	if !known {
		if at, err = b.load(ctx, key, q); err != nil || at.ID == "" {
			return at, false, err
		}
	}
	return at, serves(at, q), nil
}

// serves reports whether a query can be sent to the backend to which its key is bound.
func serves(at backend.Backend, q backend.Query) bool {
	unproven := at.Source == backend.SourceShared && at.Answered.IsZero() && time.Since(at.Added) < probation
	return (!at.Down || unproven) && !slices.Contains(q.Tried[:], at.ID)
}

// load reads the entry of a server that this relay does not know. It returns the zero
// Backend if there is no valid entry. A server without SRT keeps its players of other
// protocols until somebody publishes by SRT.
func (b *Balancer) load(ctx context.Context, key string, q backend.Query) (backend.Backend, error) {
	if len(key) > maxKey || !strings.HasPrefix(key, serverPrefix) {
		return backend.Backend{}, nil
	}
	text, err := b.client.GetRange(ctx, key, 0, maxRecord).Result()
	switch {
	case err == nil && (text == "" || len(text) > maxRecord), err != nil && !isOutage(err):
		return backend.Backend{}, nil
	case err != nil:
		return backend.Backend{}, err
	}
	var at backend.Backend
	r, err := parseRecord(text)
	if err == nil {
		at, err = r.backend(time.Now(), b.remote)
	}
	switch {
	case errors.Is(err, errNoSRT) && !q.Publish:
		return backend.Backend{}, backend.ErrNone
	case err != nil || serverKey(at.ID) != key || b.registry.Check(at) != nil:
		return backend.Backend{}, nil
	}
	return at, nil
}

// isOutage reports whether an error means that Redis cannot be used, and not only that
// other relays were faster or that one key has the wrong type.
func isOutage(err error) bool {
	return !errors.Is(err, errContested) && !strings.HasPrefix(err.Error(), "WRONGTYPE")
}
