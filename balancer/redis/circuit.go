package redis

import (
	"log/slog"
	"sync"
	"time"
)

// While Redis is away it is looked for at these intervals, doubling.
const (
	firstRetry = 100 * time.Millisecond
	lastRetry  = time.Second
)

// steady is how long Redis must have been in use before an outage counts as a
// new one, and the least time between two of them in the log: an answer time
// that jitters around the limit would make several a second.
const steady = 10 * time.Second

// circuit says whether picks ask Redis. The first call that fails or takes too
// long opens it, and only the background closes it: while Redis is slow or
// gone no pick waits for it, but for those that were under way.
type circuit struct {
	log *slog.Logger
	now func() time.Time
	// opened receives when it opens, so that the background looks at once.
	opened chan struct{}

	mu         sync.Mutex
	ok         bool
	reached    bool          // ever
	logged     bool          // the log knows that it is open
	next       time.Time     // when an outage may be logged again
	suppressed int           // outages that were not logged
	wait       time.Duration // before Redis is looked for again
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

// pace returns how long to wait before Redis is looked for: no time after it
// was in use steadily, and longer each time until it is so again.
func (c *circuit) pace() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	wait := c.wait
	c.wait = min(max(2*wait, firstRetry), lastRetry)
	return wait
}

// open notes that Redis is of no use at present, and why. An outage that came
// too soon for the log is logged later, if it lasts until then.
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
		if c.reached { // that of the start holds nothing back
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
	case <-c.opened: // of an outage that is over
	default:
	}
}
