// Package balancer chooses the backend of a stream: a Balancer keeps every
// publisher and player of one stream together, a Resolver asks it off the
// loop of a shard.
//
// Memory decides for one relay. What is shared between relays stands in
// balancer/redis, which keeps its books in a Memory too.
//
// It must not know SRT, sockets or shards.
package balancer

import (
	"context"

	"srtrelay/backend"
)

// Balancer chooses. Any goroutine may call it, and calls may take their time
// within the context.
type Balancer interface {
	// Pick returns the backend that serves the stream, choosing one if it is
	// new, and a lease on it. backend.ErrNone if there is none,
	// backend.ErrNoStream if a player asks for a stream that is not there.
	Pick(ctx context.Context, q backend.Query) (backend.Target, error)
	// Report takes what became of a lease. Every fate but backend.FateBegan gives
	// it back.
	Report(o backend.Outcome)
}

// Load is what a backend carries.
type Load struct{ Sessions, Streams int }
