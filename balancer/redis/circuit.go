package redis

import (
	"log/slog"
	"sync"
	"time"
)

// While Redis is away it is looked for at these intervals, doubling.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// circuit says whether picks ask Redis. The first call that fails or takes too
// long opens it, and only the background closes it: while Redis is slow or
// gone no pick waits for it, but for those that were under way.
type circuit struct {
	log *slog.Logger
	// opened receives when it opens, so that the background looks at once.
	opened chan struct{}

	mu      sync.Mutex
	ok      bool
	reached bool // ever
	told    bool // the log knows that it is open
	since   time.Time
	detail  string
}

func newCircuit(log *slog.Logger) *circuit {
	return &circuit{log: log, opened: make(chan struct{}, 1), since: time.Now(), detail: "redis: not reached yet"}
}

func (c *circuit) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok
}

func (c *circuit) wasReached() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached
}

func (c *circuit) state() (bool, time.Time, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ok, c.since, c.detail
}

// open notes that Redis is of no use at present, and why.
func (c *circuit) open(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.detail = "redis: " + why.Error()
	if c.ok {
		c.ok, c.since = false, time.Now()
		select {
		case c.opened <- struct{}{}:
		default:
		}
	}
	if !c.told {
		c.told = true
		c.log.Warn("shared state away, going on with what is known", "error", why)
	}
}

// close notes that Redis is in use.
func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ok {
		return
	}
	c.log.Info("shared state in use", "away", time.Since(c.since).Round(time.Millisecond))
	c.ok, c.reached, c.told, c.since, c.detail = true, true, false, time.Now(), ""
	select {
	case <-c.opened: // of an outage that is over
	default:
	}
}
