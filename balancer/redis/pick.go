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

// maxContests bounds how often a pick tries to replace a binding: each failure
// means that another relay was faster.
const maxContests = 3

// probation is how long a server that was just learnt of, and has not been
// asked yet, counts as alive for the streams that Redis says it has.
const probation = 2 * time.Second

// errContested says that others kept changing a binding.
var errContested = errors.New("binding contested")

// Pick implements balancer.Balancer.
func (b *Balancer) Pick(ctx context.Context, q backend.Query) (backend.Target, error) {
	now := time.Now()
	group, stream := balancer.AffinityKeys(q)
	c, err := b.memory.Prefer(q, b.memory.Policy)
	switch {
	case err == nil && c.Bound && b.proxyKeys.known(q) && b.confirmedKeys.has(stream, now) && (q.Group == 0 || b.confirmedKeys.has(group, now)):
		return b.memory.Admit(q, c.Backend), nil
	case errors.Is(err, backend.ErrNoStream) && b.misses.has(absentKey(q), now):
		return backend.Target{}, err
	case !b.circuit.closed():
		return b.pickOffline(q)
	}
	limited, cancel := context.WithTimeout(ctx, pickWait)
	defer cancel()
	a, err := b.ask(limited, q, c)
	switch {
	case err == nil:
		return b.admit(q, a, now), nil
	case errors.Is(err, backend.ErrNoStream):
		b.misses.add(absentKey(q), now)
		return backend.Target{}, err
	case errors.Is(err, backend.ErrNone):
		return backend.Target{}, err
	case ctx.Err() != nil:
		return backend.Target{}, ctx.Err() // of the one who asks, not of Redis
	case isOutage(err):
		b.circuit.open(err)
	}
	return b.pickOffline(q)
}

// pickOffline picks without Redis: what is known here or was announced by any relay
// stays where it is, what is new goes where every relay would put it. Whether somebody else has the stream's
// publisher is not known, so players are let in.
func (b *Balancer) pickOffline(q backend.Query) (backend.Target, error) {
	c, err := b.preferOffline(q)
	if err != nil {
		return backend.Target{}, err
	}
	b.proxyKeys.note(q)
	return b.memory.Admit(q, c.Backend), nil
}

func (b *Balancer) preferOffline(q backend.Query) (balancer.Choice, error) {
	c, err := b.memory.PreferAny(q, balancer.PolicyHash)
	group, stream := balancer.AffinityKeys(q)
	id := c.Backend.ID
	if err == nil && c.Bound && (b.memory.HasSessions(group, id) || b.memory.HasSessions(stream, id)) {
		return c, nil
	}
	if at, ok := b.announced(q); ok {
		return balancer.Choice{Backend: at, Why: "the stream was there when the relays last told each other", Bound: true}, nil
	}
	return c, err
}

// answer is where Redis sends a query.
type answer struct {
	at backend.Backend
	// group and stream are where later callers of them go, "" where that is
	// not to be changed.
	group, stream backend.ID
}

// admit issues a lease for an answer.
func (b *Balancer) admit(q backend.Query, a answer, now time.Time) backend.Target {
	if _, known := b.registry.Snapshot().Find(a.at.ID); !known {
		b.registry.Merge([]backend.Change{{New: a.at}}, now)
	}
	t := b.memory.Admit(q, a.at)
	b.proxyKeys.note(q)
	entered := false
	defer func() {
		if !entered { // a panic: nobody learns of the lease
			b.memory.Report(backend.Outcome{Lease: t.Lease})
		}
	}()
	group, stream := balancer.AffinityKeys(q)
	if a.group != "" {
		b.memory.Bind(group, a.group)
		b.confirmedKeys.add(group, now)
		b.live.watch(group, a.group)
	}
	if a.stream != "" {
		b.memory.Bind(stream, a.stream)
		b.confirmedKeys.add(stream, now)
		b.live.watch(stream, a.stream)
	}
	entered = true
	return t
}

// ask puts a query to Redis. c is what this relay would choose, the zero
// Choice if nothing.
func (b *Balancer) ask(ctx context.Context, q backend.Query, c balancer.Choice) (a answer, err error) {
	group, stream := balancer.AffinityKeys(q)
	if q.Group == 0 {
		a.at, a.stream, err = b.settleStream(ctx, q, c.Backend, c.Bound)
		return a, err
	}
	want := c.Backend
	if !c.Bound { // a new group begins where the stream of its first member is
		switch at, found, err := b.lookup(ctx, stream, q); {
		case err != nil:
			return a, err
		case found:
			want = at
		}
	}
	if a.at, a.group, err = b.settle(ctx, group, q, want); err != nil {
		return a, err
	}
	_, a.stream, err = b.settleStream(ctx, q, a.at, true)
	return a, err
}

// settle returns the server of a key, and binds it to want if it is new. home is
// where later callers go: "" if the key has sessions elsewhere that this
// caller only did not reach.
func (b *Balancer) settle(ctx context.Context, h balancer.AffinityKey, q backend.Query, want backend.Backend) (at backend.Backend, home backend.ID, err error) {
	if want.ID == "" {
		at, found, err := b.lookup(ctx, h, q)
		switch {
		case err != nil || found:
			return at, at.ID, err
		case q.Publish || b.memory.PlayersCreate:
			return at, "", backend.ErrNone
		}
		return at, "", backend.ErrNoStream
	}
	wanted, stale := b.names.of(want), ""
	for range maxContests {
		c, err := b.claim(ctx, h, wanted, stale)
		if err != nil || c.key == wanted {
			return want, want.ID, err
		}
		at, usable, err := b.server(ctx, c.key, q)
		keeps := err == nil && b.keeps(h, at, c.left)
		switch {
		case err != nil || usable && (keeps || !b.memory.HasFailed(q, at.ID)):
			return at, at.ID, err
		case keeps:
			return want, "", nil
		}
		stale = c.key
	}
	return backend.Backend{}, "", errContested
}

// keeps reports whether a key stays bound to a backend to which this caller
// cannot go: sessions live there. Of a backend that lets probes pass only a
// publisher counts, here or, as the binding was renewed of late, at another
// relay: it may be this relay's way to it that is lost. One that is certain to
// be gone keeps nothing.
func (b *Balancer) keeps(h balancer.AffinityKey, at backend.Backend, left time.Duration) bool {
	switch {
	case at.ID == "" || at.Down && at.Gone:
		return false
	case left > b.confirmed:
		return true
	case at.Down:
		return b.memory.HasPublisher(h, at.ID)
	}
	return b.memory.HasSessions(h, at.ID)
}

// lookup returns the live server of a key, if there is one, and changes
// nothing.
func (b *Balancer) lookup(ctx context.Context, h balancer.AffinityKey, q backend.Query) (at backend.Backend, found bool, err error) {
	key, err := b.client.GetRange(ctx, bindingKey(h), 0, maxKey).Result()
	if err != nil || key == "" {
		return backend.Backend{}, false, err
	}
	return b.server(ctx, key, q)
}

// server returns the backend with a key, and whether the query can be sent
// there. One that is draining or late keeps the streams that it has.
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

// load reads a server that this relay has not heard of, the zero Backend if
// there is none, or none that can be read. One that takes no SRT keeps its
// players of other protocols until somebody publishes by SRT.
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

// isOutage reports whether an error means that Redis is of no use at present,
// and not only one key of it, which somebody has made something else of.
func isOutage(err error) bool {
	return !errors.Is(err, errContested) && !strings.HasPrefix(err.Error(), "WRONGTYPE")
}
