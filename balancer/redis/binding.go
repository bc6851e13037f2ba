package redis

import (
	"context"
	"fmt"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// An unproven binding stays in Redis for firstTTL after a claim, or until its last session
// fails. A proven one stays for bindTTL after each renewal. So the TTL that it has left
// tells whether a relay has sessions under it; see Balancer.renewedTTL. One that a publisher
// has claimed and not proven yet has more than any other, youngTTL: a relay that cannot reach
// its backend does not replace it, as three lost probes are older than the claim.
const (
	// firstTTL is longer than a handshake and the time in which a session proves its
	// backend.
	firstTTL = 6 * time.Second
	// dropQueue is how many bindings can wait to be removed from Redis. All others
	// expire.
	dropQueue = 1024
)

// claimResult is what Redis answers to a claim.
type claimResult struct {
	key  string        // of the server to which the binding goes
	left time.Duration // until the binding expires, negative for never
}

// claim proposes a server for a key that has none, or has stale.
func (b *Balancer) claim(ctx context.Context, key balancer.AffinityKey, publish bool, wanted, stale string) (claimResult, error) {
	args := b.claimArgs(wanted, stale, b.memory.IsProven(key), publish)
	return readClaim(claimScript.Run(ctx, b.client, []string{bindingKey(key)}, args...))
}

// claimArgs returns the arguments of claimScript.
func (b *Balancer) claimArgs(wanted, stale string, proven, published bool) []any {
	ttl, replaces := b.firstTTL, b.firstTTL
	switch {
	case proven:
		ttl, replaces = b.bindTTL, b.youngTTL
	case published: // a binding that has been renewed recently needs no more
		ttl, replaces = b.youngTTL, b.renewedTTL
	}
	return []any{wanted, stale, ttl.Milliseconds(), replaces.Milliseconds(), b.firstTTL.Milliseconds()}
}

func readClaim(cmd *goredis.Cmd) (claimResult, error) {
	all, err := cmd.Slice()
	if err != nil {
		return claimResult{}, err
	}
	if len(all) != 2 {
		return claimResult{}, fmt.Errorf("claim a binding: %d values", len(all))
	}
	key, isText := all[0].(string)
	left, isNumber := all[1].(int64)
	if !isText || !isNumber {
		return claimResult{}, fmt.Errorf("claim a binding: %T and %T", all[0], all[1])
	}
	return claimResult{key, time.Duration(left) * time.Millisecond}, nil
}

// Report implements balancer.Balancer. It does not wait for Redis.
func (b *Balancer) Report(o backend.Outcome) {
	b.drop(b.memory.Release(o))
}

// drop has bindings removed from Redis that were dropped here.
func (b *Balancer) drop(all []balancer.Binding) {
	for _, d := range all {
		select {
		case b.dropped <- d:
		default:
		}
	}
}

// removeDropped removes bindings from Redis that were dropped here, until ctx ends.
func (b *Balancer) removeDropped(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-b.dropped:
			b.handover.awaitResume(ctx)
			at, ok := b.registry.Snapshot().Find(d.At)
			if !ok || !b.circuit.closed() {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, b.waits.sync)
			young := b.youngTTL
			if !d.Published {
				young = 0 // another relay's publisher may have it
			}
			_ = dropScript.Run(limited, b.client, []string{bindingKey(d.Key)}, b.names.keyOf(at),
				b.firstTTL.Milliseconds(), b.bindTTL.Milliseconds(), young.Milliseconds()).Err() // or it expires
			cancel()
		}
	}
}

const (
	// missFor is for how long players of a stream that nobody publishes are refused
	// without asking Redis again.
	missFor = time.Second
	// maxMisses bounds the memory that players of streams that do not exist can take.
	maxMisses = 4096
)

// recent is a set of keys, each of which stays for a while. Any goroutine may call it.
type recent[K comparable] struct {
	ttl     time.Duration
	maxKeys int // 0 for no limit

	mu sync.Mutex
	at map[K]time.Time
}

// newConfirmed returns the set of bindings that Redis has confirmed within confirmedFor. It
// needs no limit, because it is swept in every round.
func newConfirmed() *recent[balancer.AffinityKey] {
	return &recent[balancer.AffinityKey]{ttl: confirmedFor, at: make(map[balancer.AffinityKey]time.Time)}
}

// newMisses returns the set of streams that nobody published a moment ago.
func newMisses() *recent[string] {
	return &recent[string]{ttl: missFor, maxKeys: maxMisses, at: make(map[string]time.Time)}
}

// add adds a key. It ignores one too many, for which Redis is then asked again.
func (r *recent[K]) add(key K, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.maxKeys == 0 || len(r.at) < r.maxKeys {
		r.at[key] = now
	}
}

func (r *recent[K]) has(key K, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[key]
	return ok && now.Sub(at) < r.ttl
}

func (r *recent[K]) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, at := range r.at {
		if now.Sub(at) >= r.ttl {
			delete(r.at, key)
		}
	}
}
