package redis

import (
	"context"
	"fmt"
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

// claimed is what Redis says of a home.
type claimed struct {
	key  string
	left time.Duration // until the binding expires; negative for never
}

// claim proposes a server's key for a home, in the place of stale.
func (b *Balancer) claim(ctx context.Context, h balancer.Home, wanted, stale string) (claimed, error) {
	ttl := b.firstTTL
	if b.memory.Proven(h) {
		ttl = b.bindTTL
	}
	return readClaim(claim.Run(ctx, b.client, []string{homeKey(h)}, wanted, stale, ttl.Milliseconds(), b.firstTTL.Milliseconds()))
}

func readClaim(cmd *goredis.Cmd) (claimed, error) {
	all, err := cmd.Slice()
	if err != nil {
		return claimed{}, err
	}
	if len(all) != 2 {
		return claimed{}, fmt.Errorf("claim a binding: %d values", len(all))
	}
	key, isText := all[0].(string)
	left, isNumber := all[1].(int64)
	if !isText || !isNumber {
		return claimed{}, fmt.Errorf("claim a binding: %T and %T", all[0], all[1])
	}
	return claimed{key, time.Duration(left) * time.Millisecond}, nil
}

// Report implements balancer.Balancer. It does not wait for Redis.
func (b *Balancer) Report(o backend.Outcome) {
	for _, d := range b.memory.Settle(o) {
		select {
		case b.dropped <- d:
		default:
		}
	}
}

// takeOut takes bindings that were dropped here out of Redis until ctx ends.
func (b *Balancer) takeOut(ctx context.Context) {
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
			_ = drop.Run(limited, b.client, []string{homeKey(d.Home)}, b.names.of(at), b.firstTTL.Milliseconds()).Err() // else its TTL ends it
			cancel()
		}
	}
}
