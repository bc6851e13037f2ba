// Package balancer chooses the backend of a stream. A Balancer keeps the publisher and
// all players of one stream together. A Resolver asks it outside of the shards' loops.
//
// Memory decides for one relay: pick.go finds where a stream is, policy.go chooses for a
// new one, bindings.go and leases.go remember who is where. Outlier detection is in
// milestone.go (what a session proves as it lives), evidence.go (which callers failed
// where), outlier.go (which backends to eject) and ejection.go (how they return).
// Package balancer/redis decides for relays that share a Redis, and keeps its sessions
// in a Memory too.
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
	// Pick returns the backend that serves the stream, which it chooses for a new
	// stream, and a lease on it. It returns backend.ErrNone if no backend can, and
	// backend.ErrNoStream if a player asks for a stream that is not there.
	Pick(ctx context.Context, q backend.Query) (backend.Target, error)
	// Report notes what became of a lease. Every fate except backend.FateBegan
	// releases it.
	Report(o backend.Outcome)
}

// Load counts what a backend serves.
type Load struct{ Sessions, Streams int }
