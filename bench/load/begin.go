//go:build linux

package load

import (
	"context"
	"fmt"
	"os"
	"time"
)

// connectAll connects every session, and returns when each is connected or has failed.
func (l *Load) connectAll(ctx context.Context, progress bool) error {
	l.connecting = true
	l.connector.plan.Start(l.clock.Now())
	for shown := l.clock.Now(); len(l.connector.free)+len(l.connector.pending) > 0; {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("connect sessions: %w", err)
		}
		l.turn(l.clock.Now())
		if progress && l.now-shown > int64(time.Second) {
			shown = l.now
			fmt.Fprintf(os.Stderr, "load: %d of %d sessions connected, %d failed\n", l.open, len(l.sessions), l.book.Failed)
		}
	}
	l.connecting = false
	l.connector.plan.Stop()
	for code, n := range l.book.Rejected {
		fmt.Fprintf(os.Stderr, "load: %d sessions rejected with %d\n", n, code)
	}
	if l.open == 0 {
		return fmt.Errorf("connect sessions: none of %d could connect to %s", len(l.sessions), l.config.Target)
	}
	return nil
}
