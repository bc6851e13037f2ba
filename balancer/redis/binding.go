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

// A binding lives in Redis for as long as it is worth: one under which no
// session has lived yet for firstTTL, or until its last session fails; one that
// is proven for bindTTL after each renewal. What a binding has left so tells
// whether sessions live under it somewhere, see Balancer.confirmed.
const (
	// firstTTL outlasts a handshake and what proves a backend.
	firstTTL = 6 * time.Second
	// dropQueue bounds the bindings that wait to be taken out; of more the TTL
	// takes care.
	dropQueue = 1024
)

// claimResult is the answer of Redis for a key.
type claimResult struct {
	key  string
	left time.Duration // until the binding expires; negative for never
}

// claim proposes a server for a key, to replace stale.
func (b *Balancer) claim(ctx context.Context, h balancer.AffinityKey, wanted, stale string) (claimResult, error) {
	ttl := b.firstTTL
	if b.memory.IsProven(h) {
		ttl = b.bindTTL
	}
	return readClaim(claimScript.Run(ctx, b.client, []string{bindingKey(h)}, wanted, stale, ttl.Milliseconds(), b.firstTTL.Milliseconds()))
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
	for _, d := range b.memory.Release(o) {
		select {
		case b.dropped <- d:
		default:
		}
	}
}

// removeDropped takes bindings that were dropped here out of Redis until ctx ends.
func (b *Balancer) removeDropped(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-b.dropped:
			at, ok := b.registry.Snapshot().Find(d.At)
			if !ok || !b.circuit.closed() {
				continue
			}
			limited, cancel := context.WithTimeout(ctx, syncWait)
			_ = dropScript.Run(limited, b.client, []string{bindingKey(d.Key)}, b.names.of(at), b.firstTTL.Milliseconds()).Err() // else its TTL ends it
			cancel()
		}
	}
}

const (
	// missFor is how long a stream that nobody publishes is remembered as
	// such: short enough for a publisher that comes a moment later.
	missFor = time.Second
	// maxMisses bounds what players of streams that do not exist can fill.
	maxMisses = 4096
)

// recent are keys that something was true of a moment ago. Any goroutine may
// call it.
type recent[K comparable] struct {
	lasting time.Duration
	most    int // keys, 0 for no bound but the sweep

	mu sync.Mutex
	at map[K]time.Time
}

// newFresh are the bindings that Redis has confirmed within trust. They are no
// more than were confirmed since the last sweep, a second ago.
func newFresh() *recent[balancer.AffinityKey] {
	return &recent[balancer.AffinityKey]{lasting: trust, at: make(map[balancer.AffinityKey]time.Time)}
}

// newMisses are streams that were not there a moment ago.
func newMisses() *recent[string] {
	return &recent[string]{lasting: missFor, most: maxMisses, at: make(map[string]time.Time)}
}

// add notes a key. One too many is not noted: it asks again, which costs a
// round trip and no memory.
func (r *recent[K]) add(key K, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.most == 0 || len(r.at) < r.most {
		r.at[key] = now
	}
}

func (r *recent[K]) has(key K, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[key]
	return ok && now.Sub(at) < r.lasting
}

func (r *recent[K]) sweep(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, at := range r.at {
		if now.Sub(at) >= r.lasting {
			delete(r.at, key)
		}
	}
}
