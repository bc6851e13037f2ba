package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Servers says where Redis is. Its fields are those of config.Redis, which
// reads them from the URL.
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
	// dialWait is below pickWait, so that an address that swallows SYNs is
	// told apart from a slow answer.
	dialWait = 250 * time.Millisecond
	// poolSize is the resolver's workers and the background, with room.
	poolSize = 32
)

// disableClientLog ends go-redis's own log, which tells every failed connection: the
// circuit tells each outage once. It is the library's one switch for all its
// clients, so it is moved once.
var disableClientLog = sync.OnceFunc(logging.Disable)

// connect returns a client that has not yet connected. It repeats nothing by
// itself: whether to go on without Redis is the circuit's decision.
func connect(s Servers) goredis.UniversalClient {
	disableClientLog()
	o := &goredis.UniversalOptions{
		Addrs: s.Addrs, MasterName: s.Master, DB: s.DB,
		Username: s.Username, Password: s.Password, SentinelPassword: s.SentinelPassword,
		Protocol: 2, DisableIdentity: true,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: dialWait,
		ReadTimeout: syncWait, WriteTimeout: syncWait,
		ContextTimeoutEnabled: true,
		PoolSize:              poolSize, PoolTimeout: pickWait,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	if s.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
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

// clientLog is go-redis's log. Its own writes to standard error, where a
// reader that stalls would hold up the pool; and what it says of an outage, for
// each connection, the circuit says once.
type clientLog struct{ log *slog.Logger }

// Printf implements go-redis's internal.Logging.
func (c clientLog) Printf(ctx context.Context, format string, args ...any) {
	if c.log.Enabled(ctx, slog.LevelDebug) {
		c.log.DebugContext(ctx, "redis client", "text", fmt.Sprintf(format, args...))
	}
}

// useLog has go-redis log to log: all of the process, whose log is one.
func useLog(log *slog.Logger) { goredis.SetLogger(clientLog{log}) }
