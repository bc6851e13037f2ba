// Package redis is the Balancer of several relays that share a Redis with each other and
// with SRS's own proxy.
//
// It uses the keys of SRS's proxy, so that a stream that is published by SRT here and
// played by RTMP, HLS or WebRTC there reaches the same server:
//
//	srs-proxy-server:<server>-<service>-<pid>  the server's JSON, with a TTL
//	srs-proxy-all-servers                      JSON array of these keys
//	srs-proxy-url:<vhost/app/stream>           the key of the stream's server
//
// and nine of the relays':
//
//	srtrelay-group:<id>                        the key of a bonding group's server
//	srtrelay-servers                           set of the keys that relays have written
//	srtrelay-live                              stream of notices: which bindings have sessions
//	srtrelay-orders                            hash of operators' orders: drains and weights
//	srtrelay-cookie-secret                     the secret of the cookies, which relays share
//	srtrelay-forward                           hash of the relays that take datagrams
//	srtrelay-sessions:<address>                hash of such a relay's sessions
//	srtrelay-relays                            hash of the relays' presence
//	srtrelay-relay-streams:<id>                a relay's streams, for the view of all relays
//
// A server without RTMP, such as a static backend, is in the set only: SRS's proxy chooses
// from its array for callers of all protocols, and its RTMP callers would fail there. A
// stream's key without a TTL was written by SRS's proxy and gets none.
//
// A pick is one script on one key (pick.go, script.go), so that relays cannot disagree
// and a cluster works as well as a single node. Sessions, leases and policies are those
// of a balancer.Memory. Every second sync.go learns the servers of others, publish.go
// writes this relay's, and exchange.go tells which bindings have sessions. While Redis is
// away (circuit.go), streams stay where the Memory or the announcements of other relays
// have them, and new ones go by balancer.PolicyHash, on which relays agree without
// communication.
//
// It must not know SRT, sockets or shards, and it is the only package that imports
// go-redis.
package redis

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"srtrelay/backend"
	"srtrelay/balancer"
	"srtrelay/internal/supervise"
)

const (
	// pickWait bounds all calls of one pick to Redis. It is part of the time that the
	// caller waits, as is the handshake with the backend.
	pickWait = 300 * time.Millisecond
	// syncWait bounds one round trip in the background.
	syncWait = time.Second
	// syncEvery is the time between two rounds: after one a server that one relay
	// knows is known to all.
	syncEvery = time.Second
	// confirmedFor is how long a confirmed binding is used without asking Redis
	// again: the players of one stream must not cost a round trip each.
	confirmedFor = time.Second
)

// Options is what a Balancer needs.
type Options struct {
	Servers  Servers
	Registry *backend.Registry
	// Memory keeps sessions and leases. It is configured before Open.
	Memory *balancer.Memory
	// TTL is how long a server's entry stays in Redis after its last heartbeat.
	TTL time.Duration
	Log *slog.Logger
	// Name returns the relay's name, which orders of its operator bear; nil for none.
	Name func() string
	// Secrets is called with the secrets that relays share by Redis: the first one makes
	// cookies, all are accepted. Nil shares none.
	Secrets func([]Secret)
	// Supervisor supervises the background tasks; nil for none.
	Supervisor *supervise.Supervisor

	waits waits // usualWaits if zero
}

// Balancer is a balancer.Balancer over Redis. Any goroutine may call it.
type Balancer struct {
	registry *backend.Registry
	memory   *balancer.Memory
	ttl      time.Duration
	bindTTL  time.Duration // how long a binding outlives its last renewal
	renew    time.Duration // how often bindings with sessions are renewed
	firstTTL time.Duration // how long an unproven binding outlives its last claim
	// renewedTTL is the TTL that a binding has left at least if it was renewed within
	// one and a half times renew. Then it has sessions.
	renewedTTL time.Duration
	// youngTTL is how long a publisher's unproven binding outlives its claim. It is longer
	// than bindTTL, so that it can be told from all others.
	youngTTL      time.Duration
	dropped       chan balancer.Binding
	waits         waits
	client        goredis.UniversalClient
	circuit       *circuit
	names         names
	confirmedKeys *recent[balancer.AffinityKey]
	misses        *recent[string]
	announcer     *announcer
	proxyKeys     proxyKeys
	cache         entryCache
	log           *slog.Logger
	// remote means that Redis is on another host.
	remote bool

	handover handover
	orders   *orders
	relayID  atomic.Pointer[string]
	reported atomic.Bool // there may be a report of this relay in Redis
	secret   sharedSecret

	background context.Context
	stop       context.CancelFunc
	loop       *supervise.Tasks
}

// Open starts a Balancer. It does not wait for Redis; see State and Reached.
func Open(o Options) *Balancer {
	if o.waits == (waits{}) {
		o.waits = usualWaits
	}
	ctx, stop := context.WithCancel(context.Background())
	// Three renewals fit into the affinity. More than one a second is pointless.
	renew := min(max(o.Memory.Affinity/3, time.Second), 5*time.Second)
	b := &Balancer{
		registry:      o.Registry,
		memory:        o.Memory,
		ttl:           o.TTL,
		renew:         renew,
		bindTTL:       o.Memory.Affinity + 2*renew,
		dropped:       make(chan balancer.Binding, dropQueue),
		waits:         o.waits,
		client:        connect(o.Servers, o.waits),
		circuit:       newCircuit(o.Log),
		confirmedKeys: newConfirmed(),
		misses:        newMisses(),
		announcer:     newAnnouncer(),
		proxyKeys:     proxyKeys{byKey: map[string][]string{}},
		cache:         entryCache{entries: map[string]*entry{}, published: map[string]time.Time{}},
		log:           o.Log,
		remote:        !o.Servers.local(),
		handover:      handover{renew: make(chan struct{}, 1)},
		orders:        newOrders(o.Name),
		secret:        sharedSecret{publish: o.Secrets},
		background:    ctx,
		stop:          stop,
		loop:          o.Supervisor.Tasks(),
	}
	b.relayID.Store(new(newRelayID()))
	b.renewedTTL = b.bindTTL - renew*3/2
	b.firstTTL = min(firstTTL, b.renewedTTL)
	b.youngTTL = b.bindTTL + b.firstTTL
	b.loop.Loop(ctx, "redis", b.run)
	b.loop.Loop(ctx, "redis bindings", b.removeDropped)
	return b
}

// Close ends the background tasks and the connections. Entries and bindings stay in Redis
// until they expire; the relay's report does not, because it has not been lost.
func (b *Balancer) Close() {
	b.stop()
	b.loop.Wait()
	_ = b.RemoveReport(context.Background()) // or it counts as away
	_ = b.client.Close()                     // nothing is pending that could fail
}

// State reports whether Redis is in use, since when that is so, and why it is not.
func (b *Balancer) State() (ok bool, since time.Time, detail string) { return b.circuit.state() }

// Reached reports whether Redis has been reached since Open. Then the relay knows the
// servers of others and is ready.
func (b *Balancer) Reached() bool { return b.circuit.wasReached() }

// run keeps servers and bindings in step with Redis, and tries to reconnect while Redis is
// away.
func (b *Balancer) run(ctx context.Context) {
	var renewed time.Time
	for ctx.Err() == nil {
		b.handover.awaitResume(ctx)
		if !b.circuit.closed() {
			pause(ctx, nil, nil, b.circuit.nextWait())
			if ctx.Err() != nil || b.handover.isPaused() {
				continue // another process may serve by now
			}
			b.announcer.live.forgetGone(b.registry.Snapshot())
			b.applyOrders() // to backends that have come
			b.reloadCluster(ctx)
			if err := b.reconnect(ctx); err != nil {
				b.circuit.open(err)
				continue
			}
			b.circuit.close()
			// Again, for picks that were made since reconnect did it.
			renewed = time.Now()
			if err := b.renewBindings(ctx); err != nil {
				b.circuit.open(err)
				continue
			}
		}
		atOnce := pause(ctx, b.circuit.opened, b.handover.renew, syncEvery)
		if !b.circuit.closed() || ctx.Err() != nil || b.handover.isPaused() {
			continue
		}
		err := b.sync(ctx)
		if err == nil && (atOnce || time.Since(renewed) >= b.renew) {
			renewed = time.Now()
			err = b.renewBindings(ctx)
		}
		if err != nil && ctx.Err() == nil {
			b.circuit.open(err)
		}
	}
}

// reloadCluster has a cluster's client learn again which node serves what, and does not
// wait for it. The client itself does so once a minute, and when a node says that it has
// moved a key, which a dead node does not say.
func (b *Balancer) reloadCluster(ctx context.Context) {
	if cluster, ok := b.client.(*goredis.ClusterClient); ok {
		cluster.ReloadState(ctx)
	}
}

// reconnect checks whether Redis can be used again, and brings it up to date before picks
// rely on it.
func (b *Balancer) reconnect(ctx context.Context) error {
	if err := b.probeWrite(ctx); err != nil {
		return err
	}
	if err := b.sync(ctx); err != nil {
		return err
	}
	return b.renewBindings(ctx)
}

// probeWrite writes to Redis, within the time that a pick has. A Redis that is full or
// read-only still answers PING.
func (b *Balancer) probeWrite(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, b.waits.pick)
	defer cancel()
	return b.client.Set(limited, probeKey, "1", time.Second).Err()
}

// pause waits for d, or until wake or renew receives or ctx ends. It reports whether renew
// has received.
func pause(ctx context.Context, wake, renew <-chan struct{}, d time.Duration) (renewNow bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-wake:
	case <-timer.C:
	case <-renew:
		return true
	}
	return false
}
