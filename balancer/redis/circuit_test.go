package redis

import (
	"errors"
	"log/slog"
	"testing"
	"time"
)

// Redis answers around the time limit for a minute: it is looked for less and
// less often, and the log is not filled.
func TestFlappingRedis(t *testing.T) {
	var log journal
	clock := time.Unix(1e9, 0)
	c := newCircuit(slog.New(slog.NewTextHandler(&log, nil)))
	c.now = func() time.Time { return clock }
	slow := errors.New("slow")
	told := func(away, inUse int) {
		t.Helper()
		if n, m := log.count("shared state away"), log.count("shared state in use"); n != away || m != inUse {
			t.Errorf("after %v told %d and %d times, want %d and %d", clock.Sub(time.Unix(1e9, 0)), n, m, away, inUse)
		}
	}

	c.open(slow)
	told(1, 0)
	c.close()
	told(1, 1)
	var last time.Duration
	outages := 0
	for began := clock; clock.Sub(began) < time.Minute; outages++ {
		clock = clock.Add(50 * time.Millisecond)
		c.open(slow)
		wait := c.nextWait()
		if wait < last || outages > 0 && wait == 0 {
			t.Fatalf("looked for after %v, then after %v", last, wait)
		}
		last, clock = wait, clock.Add(wait)
		c.close()
	}
	if last != lastRetry || outages > 70 {
		t.Errorf("%d outages in a minute, the last one of %v", outages, last)
	}
	if n, m := log.count("shared state away"), log.count("shared state in use"); n < 5 || n > 8 || m != n {
		t.Errorf("a minute is told in %d and %d lines", n, m)
	}

	// A long outage is logged in the end, and one after a quiet time at once; then Redis
	// is tried at once, too.
	n, m := log.count("shared state away"), log.count("shared state in use")
	c.open(slow)
	for range 12 {
		clock = clock.Add(lastRetry)
		c.open(slow)
	}
	told(n+1, m)
	c.close()
	told(n+1, m+1)
	clock = clock.Add(steady)
	c.open(slow)
	told(n+2, m+1)
	if wait := c.nextWait(); wait != 0 {
		t.Errorf("after a quiet time looked for after %v", wait)
	}
	if wait := c.nextWait(); wait != firstRetry {
		t.Errorf("then after %v", wait)
	}
}
