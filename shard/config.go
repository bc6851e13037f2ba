package shard

import (
	"fmt"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/streamid/rules"
	"srtrelay/udp"
)

// Config is what a Group is made of. It is not changed after Open.
type Config struct {
	// Listen are the addresses callers dial, at least one.
	Listen []netip.AddrPort
	// Shards is the number of workers, fixed for life: closing or adding a
	// socket of a SO_REUSEPORT group moves the flows of all others.
	Shards int
	// CPUs are the processors the shards are pinned to, in turn; none leaves
	// them to the scheduler.
	CPUs []int
	// Batch is the most datagrams (or trains) per receive call.
	Batch int
	// BatchWait is the longest time a shard lets datagrams gather before it
	// receives again, under load only; 0 for never.
	BatchWait time.Duration
	// Sockets says what every socket is opened with.
	Sockets udp.Options
	// UpstreamPorts is the most local ports per shard and address family
	// towards backends. More than one is used only where sessions collide.
	UpstreamPorts int

	// Caps per shard: sessions in any state, half-open handshakes, and
	// half-open handshakes of one caller's IP address (IPv6: of one /64).
	MaxSessions, MaxHalfOpen, MaxPerSource int
	// MaxSessionsPerSource is the cap of sessions in any state of one caller's
	// IP address (IPv6: of one /64), 0 for none.
	MaxSessionsPerSource int
	// IdleTimeout ends a session without a datagram either way.
	IdleTimeout time.Duration
	// BackendSilence ends a session whose caller sends and whose backend
	// says nothing; see silenceLimit.
	BackendSilence time.Duration

	// Telemetry has the quality of every session measured.
	Telemetry bool

	// Secret is what the SYN cookies derive from.
	Secret handshake.Secret
	// Registry gives the present snapshot, one atomic load per turn.
	Registry *backend.Registry
	// Balancer chooses backends, off the loop.
	Balancer Balancer
	// Rules publishes what the operator laid down about stream IDs, asked once
	// per CONCLUSION. Nil has no rules.
	Rules *rules.Live
	// Events takes what happens to sessions. It is never waited for: when it
	// is full, the event is counted as lost. Nil sends none.
	Events chan<- Event
	// Log takes what happens to the shards themselves, never to a datagram.
	Log *slog.Logger
}

// linkLimit is how many sockets of one side a session can name: Session keeps
// the index in one byte.
const linkLimit = math.MaxUint8 + 1

// checkIndexes refuses what the indexes of a Session cannot name.
func (c *Config) checkIndexes() error {
	const families = 2 // upstream sockets are opened per address family
	switch {
	case c.MaxSessions > indexLimit:
		return fmt.Errorf("at most %d sessions per shard, not %d", indexLimit, c.MaxSessions)
	case len(c.Listen) > linkLimit:
		return fmt.Errorf("at most %d listen addresses, not %d", linkLimit, len(c.Listen))
	case c.UpstreamPorts > linkLimit/families:
		return fmt.Errorf("at most %d upstream ports, not %d", linkLimit/families, c.UpstreamPorts)
	}
	return nil
}

// Balancer is what a shard asks for backends. No call may wait: the loop makes
// them.
type Balancer interface {
	// Resolve takes the query over and later, from another goroutine, calls
	// done once. False: it has too much to do, and done will not be called.
	// If done returns false nobody wants the answer, and its lease is over.
	Resolve(q backend.Query, done func(backend.Target, error) bool) bool
	// Report says what became of a lease. Every fate but backend.Began returns
	// it. False: it has too much to do, and the shard reports again later.
	Report(o backend.Outcome) bool
	// Unreachable says that a backend is silent; certain, that nobody listens
	// there. Best effort.
	Unreachable(id backend.ID, certain bool)
}
