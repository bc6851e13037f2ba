// Package balancer chooses the backend of a stream: a Balancer keeps every
// publisher and player of one stream together, a Resolver asks it off the
// loop of a shard.
//
// Memory decides for one relay: pick.go finds where a stream is, policy.go chooses for a
// new one, memory.go keeps the sessions. Package balancer/redis decides for relays that share
// a Redis, and keeps its sessions in a Memory too.
//
// It must not know SRT, sockets or shards.
package balancer

import (
	"context"

	"srtrelay/backend"
)

// Balancer chooses backends. Any goroutine may call it; calls may block within the
// context.
type Balancer interface {
	// Pick returns the backend that serves the stream, choosing one if it is
	// new, and a lease on it. backend.ErrNone if there is none,
	// backend.ErrNoStream if a player asks for a stream that is not there.
	Pick(ctx context.Context, q backend.Query) (backend.Target, error)
	// Report notes what became of a lease. Every fate but backend.FateBegan
	// returns the lease.
	Report(o backend.Outcome)
}

// Load counts what a backend serves.
type Load struct{ Sessions, Streams int }
