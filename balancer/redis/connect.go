package redis

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Servers says where Redis is. Its fields are those of config.Redis, which come from the
// URL.
type Servers struct {
	// Mode is single, sentinel or cluster.
	Mode string
	// Addrs are host:port: the node, the sentinels, or some cluster nodes.
	Addrs []string
	// Master is what the sentinels call the master.
	Master             string
	DB                 int
	Username, Password string
	SentinelPassword   string
	TLS                bool
}

// local reports whether all servers are on this host.
func (s Servers) local() bool {
	return !slices.ContainsFunc(s.Addrs, func(addr string) bool {
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return true
		}
		ip, err := netip.ParseAddr(host)
		return host != "localhost" && (err != nil || !ip.IsLoopback())
	})
}

const (
	// dialWait is below pickWait, so that the error of an address that does not answer
	// SYNs is a failed connection and not a slow answer.
	dialWait = 250 * time.Millisecond
	// poolSize is enough for the resolver's workers and the background tasks.
	poolSize = 32
)

// waits are how long a Redis that does not answer holds things up: a pick, a round trip in
// the background, a connection.
type waits struct{ pick, sync, dial time.Duration }

var usualWaits = waits{pick: pickWait, sync: syncWait, dial: dialWait}

// disableClientLog disables the log of go-redis, which has a line for every failed
// connection and writes to standard error, where a reader that stalls would block the
// connection pool. The circuit logs each outage once. The switch is a global variable of
// the library.
var disableClientLog = sync.OnceFunc(logging.Disable)

// connect returns a client that has not connected yet. It does not retry by itself,
// because the circuit decides whether to go on without Redis.
func connect(s Servers, w waits) goredis.UniversalClient {
	disableClientLog()
	o := &goredis.UniversalOptions{
		Addrs: s.Addrs, MasterName: s.Master, DB: s.DB,
		Username: s.Username, Password: s.Password, SentinelPassword: s.SentinelPassword,
		Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: w.dial,
		ReadTimeout: w.sync, WriteTimeout: w.sync,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize, PoolTimeout: w.pick,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dial := goredis.NewDialer(&goredis.Options{DialTimeout: w.dial, TLSConfig: o.TLSConfig})
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return checkReplies(conn), nil
	}
	switch s.Mode {
	case "sentinel":
		return goredis.NewFailoverClient(o.Failover())
	case "cluster":
		return goredis.NewClusterClient(o.Cluster())
	default:
		return goredis.NewClient(o.Simple())
	}
}
