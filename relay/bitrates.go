package relay

import (
	"context"
	"sync/atomic"
	"time"

	"srtrelay/backend"
	"srtrelay/shard"
)

// bitrates is what each backend carries, for the balancer to look at without
// asking every shard.
type bitrates struct {
	current atomic.Pointer[map[backend.ID]float64]
}

// of returns a backend's present load in bit/s, 0 if nothing is known.
func (b *bitrates) of(id backend.ID) float64 {
	return b.all()[id]
}

// all returns every backend's present load in bit/s. It is only to be read.
func (b *bitrates) all() map[backend.ID]float64 {
	if m := b.current.Load(); m != nil {
		return *m
	}
	return nil
}

// follow adds up the shards' rates every second until ctx ends.
func (b *bitrates) follow(ctx context.Context, group *shard.Group) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			sum := group.Rates()
			b.current.Store(&sum)
		}
	}
}
