package redis

import (
	"context"
	"fmt"
	"log/slog"

	goredis "github.com/redis/go-redis/v9"
)

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
