package redis

import (
	"log/slog"
	"sync"
	"time"
)

// While Redis is away, the intervals between two attempts to reconnect double from the
// first to the last.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
)

// steady is how long Redis must have been in use for an outage to count as a new one, and
// the least time between two outages in the log. Answer times around the limit would
// otherwise make several a second.
const steady = 10 * time.Second

// circuit is the circuit breaker: picks ask Redis while it is closed. The first call that
// fails or takes too long opens it, and only Balancer.run closes it again. So while Redis
// is slow or gone, only picks that were already asking it wait.
type circuit struct {
	log *slog.Logger
	now func() time.Time
	// opened receives when the circuit opens, so that run reconnects at once.
	opened chan struct{}

	mu         sync.Mutex
	ok         bool
	reached    bool          // was closed once
	logged     bool          // the log says that it is open
	next       time.Time     // when an outage may be logged again
	suppressed int           // outages that were not logged
	wait       time.Duration // before the next attempt to reconnect
	since      time.Time
	detail     string
}

func newCircuit(log *slog.Logger) *circuit {
	return &circuit{
		log: log, now: time.Now, opened: make(chan struct{}, 1),
		since: time.Now(), detail: "redis: not reached yet",
	}
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

// nextWait returns how long to wait before the next attempt to reconnect: not at all after
// Redis was in use steadily, and longer each time until it is so again.
func (c *circuit) nextWait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := c.wait
	c.wait = min(max(2*wait, firstRetry), lastRetry)
	return wait
}

// open notes that Redis cannot be used, and why. An outage that comes too soon after the
// last one in the log is logged later, if it lasts until then.
func (c *circuit) open(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.detail = "redis: " + why.Error()
	if c.ok {
		if now.Sub(c.since) >= steady {
			c.wait = 0
		}
		c.ok, c.since = false, now
		select {
		case c.opened <- struct{}{}:
		default:
		}
	}
	if !c.logged && !now.Before(c.next) {
		c.log.Warn("shared state away, going on with what is known", "error", why, "more_before", c.suppressed)
		c.logged, c.suppressed = true, 0
		if c.reached { // the one at the start does not delay the next
			c.next = now.Add(steady)
		}
	}
}

// close notes that Redis is in use.
func (c *circuit) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ok {
		return
	}
	now := c.now()
	if c.logged || !c.reached {
		c.log.Info("shared state in use", "away", now.Sub(c.since).Round(time.Millisecond))
	} else {
		c.suppressed++
	}
	c.ok, c.reached, c.logged, c.since, c.detail = true, true, false, now, ""
	select {
	case <-c.opened: // the outage is over
	default:
	}
}

// noteReached notes that the relay's former process has reached Redis: the relay stays
// ready without it.
func (c *circuit) noteReached() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reached = true
}
