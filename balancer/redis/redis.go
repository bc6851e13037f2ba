// Package redis is the Balancer of several relays that share a Redis, with
// each other and with SRS's own proxy.
//
// The keys are those of SRS's proxy, so that a stream published by SRT here
// and played by RTMP, HLS or WebRTC there meets the same server:
//
//	srs-proxy-server:<server>-<service>-<pid>  the server's JSON, with a TTL
//	srs-proxy-all-servers                      JSON array of such keys
//	srs-proxy-url:<vhost/app/stream>           the key of the stream's server
//
// and three of the relays':
//
//	srtrelay-group:<id>                        the key of a bonding group's server
//	srtrelay-servers                           set of the keys that relays have written
//	srtrelay-live                              stream of notices: which bindings have sessions
//
// A server without RTMP, a static backend above all, stands in the set alone:
// SRS's proxy draws from its array for callers of all protocols, and would
// fail its RTMP callers there. A stream's entry that has no TTL was written by
// SRS's proxy and gets none.
//
// One script on one key decides a pick, so that relays cannot disagree, and a
// cluster works as well as a single node. Sessions, leases and policies are those of
// a balancer.Memory. While Redis is away, streams stay where the Memory or the
// announcements of other relays have them, and balancer.Rank places new ones, on
// which relays agree without communication.
//
// It must not know SRT, sockets or shards, and it is the only package that imports
// go-redis.
package redis

import (
	"context"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/internal/supervise"
)

const (
	// pickWait bounds all calls of one pick to Redis: it is part of the time
	// that the caller waits, as is the second leg.
	pickWait = 300 * time.Millisecond
	// syncWait bounds one round trip in the background.
	syncWait = time.Second
	// syncEvery is how soon a server that one relay knows is known to all.
	syncEvery = time.Second
	// trust is how long a binding that Redis has confirmed needs no question:
	// many players of one stream must not cost a round trip each.
	trust = time.Second
)

// Options is what a Balancer needs.
type Options struct {
	Servers  Servers
	Registry *backend.Registry
	// Memory keeps sessions and leases. It is configured before Open.
	Memory *balancer.Memory
	// TTL is how long a server's entry outlives its last sign of life.
	TTL time.Duration
	Log *slog.Logger
	// Supervisor supervises the background tasks; nil for none.
	Supervisor *supervise.Supervisor
}

// Balancer is a balancer.Balancer over Redis. Any goroutine may call it.
type Balancer struct {
	registry *backend.Registry
	memory   *balancer.Memory
	ttl      time.Duration
	bindTTL  time.Duration // how long a binding outlives its last renewal
	renew    time.Duration // how often bindings with sessions are renewed
	firstTTL time.Duration // likewise before a session has lived
	// confirmed is what a binding has left, at least, that was renewed within
	// one and a half times renew: sessions live under it.
	confirmed     time.Duration
	dropped       chan balancer.Binding
	client        goredis.UniversalClient
	circuit       *circuit
	names         names
	confirmedKeys *recent[balancer.AffinityKey]
	misses        *recent[string]
	live          *exchange
	proxyKeys     proxyKeys
	register      register
	log           *slog.Logger
	// remote means that Redis is on another host.
	remote bool

	stop context.CancelFunc
	loop *supervise.Tasks
}

// Open starts a Balancer. It does not wait for Redis; see State and Reached.
func Open(o Options) *Balancer {
	useLog(o.Log)
	ctx, stop := context.WithCancel(context.Background())
	// Three renewals fit into the affinity; more than one a second is noise.
	renew := min(max(o.Memory.Affinity/3, time.Second), 5*time.Second)
	b := &Balancer{
		registry:      o.Registry,
		memory:        o.Memory,
		ttl:           o.TTL,
		renew:         renew,
		bindTTL:       o.Memory.Affinity + 2*renew,
		dropped:       make(chan balancer.Binding, dropQueue),
		client:        connect(o.Servers),
		circuit:       newCircuit(o.Log),
		confirmedKeys: newFresh(),
		misses:        newMisses(),
		live:          newExchange(),
		proxyKeys:     proxyKeys{of: map[string][]string{}},
		register:      register{entries: map[string]*entry{}, published: map[string]time.Time{}},
		log:           o.Log,
		remote:        !o.Servers.local(),
		stop:          stop,
		loop:          o.Supervisor.Tasks(),
	}
	b.confirmed = b.bindTTL - renew*3/2
	b.firstTTL = min(firstTTL, b.confirmed)
	b.loop.Loop(ctx, "redis", b.run)
	b.loop.Loop(ctx, "redis bindings", b.removeDropped)
	return b
}

// Close ends the background work and the connections. Entries stay in Redis
// until their time is over.
func (b *Balancer) Close() {
	b.stop()
	b.loop.Wait()
	_ = b.client.Close() // nothing is left to be lost
}

// State reports whether Redis is in use, since when it is so, and why not.
func (b *Balancer) State() (ok bool, since time.Time, detail string) { return b.circuit.state() }

// Reached reports whether Redis has been reached since Open, which is what a
// relay needs to be ready: from then on it knows the other servers.
func (b *Balancer) Reached() bool { return b.circuit.wasReached() }

// run keeps servers and bindings in step with Redis, and looks for it while
// it is away.
func (b *Balancer) run(ctx context.Context) {
	var renewed time.Time
	for ctx.Err() == nil {
		if !b.circuit.closed() {
			pause(ctx, nil, b.circuit.pace())
			if ctx.Err() != nil {
				return
			}
			b.live.live.forgetGone(b.registry.Snapshot())
			b.reloadCluster(ctx)
			if err := b.reconnect(ctx); err != nil {
				b.circuit.open(err)
				continue
			}
			b.circuit.close()
			// Once more, for the picks of the meantime.
			renewed = time.Now()
			if err := b.renewBindings(ctx); err != nil {
				b.circuit.open(err)
				continue
			}
		}
		pause(ctx, b.circuit.opened, syncEvery)
		if !b.circuit.closed() || ctx.Err() != nil {
			continue
		}
		err := b.sync(ctx)
		if err == nil && time.Since(renewed) >= b.renew {
			renewed = time.Now()
			err = b.renewBindings(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.circuit.open(err)
		}
	}
}

// reloadCluster makes a cluster's client learn anew which node serves what. By itself it
// does so once a minute and when a node says that it has moved a key, which one
// that is dead does not. It does not wait for the answer.
func (b *Balancer) reloadCluster(ctx context.Context) {
	if cluster, ok := b.client.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// reconnect asks whether Redis is of use again, and brings it up to date
// before picks rely on it.
func (b *Balancer) reconnect(ctx context.Context) error {
	if err := b.probeWrite(ctx); err != nil {
		return err
	}
	if err := b.sync(ctx); err != nil {
		return err
	}
	return b.renewBindings(ctx)
}

// probeWrite is the half-open state: one write within the time of a pick. A Redis
// that is full, or read-only, still answers PING.
func (b *Balancer) probeWrite(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, pickWait)
	defer cancel()
	return b.client.Set(limited, probeKey, "1", time.Second).Err()
}

// pause waits for a time, or until wake receives or ctx ends.
func pause(ctx context.Context, wake <-chan struct{}, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	}
}
