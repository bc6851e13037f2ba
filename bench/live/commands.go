//go:build linux

package live

import (
	"cmp"
	"fmt"
	"time"
)

// Keep makes n more sessions that stay: they connect again when they are ended.
func (c *Callers) Keep(n int, s Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		s := s
		s.Count = 0
		k := &caller{spec: s, stays: true, stream: fmt.Sprintf("%s%d", s.Prefix, len(c.slots))}
		k.again = c.clock.Now() + int64(len(c.slots))*int64(cmp.Or(c.config.Apart, apart))
		k.since = k.again
		c.slots = append(c.slots, k)
	}
}

// Release ends the last n sessions that stay, by a SHUTDOWN.
func (c *Callers) Release(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.slots[len(c.slots)-n:] {
		k.stays = false
		switch k.phase {
		case connected:
			c.hangUp(k, Redialled)
		case inducting, concluding:
			c.fail(k)
		case idle:
		}
	}
	clear(c.slots[len(c.slots)-n:])
	c.slots = c.slots[:len(c.slots)-n]
}

// Churn begins rate short sessions per second from now on; 0 for none.
func (c *Callers) Churn(rate float64, s Spec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.churn, c.every = s, 0
	if rate > 0 {
		c.every, c.next = int64(float64(second)/rate), c.clock.Now()
	}
}

// Silence stops the data of all callers, or lets it go on.
func (c *Callers) Silence(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = on
	for _, k := range c.all {
		k.due = max(k.due, c.now)
	}
}

// Leave ends all sessions by a SHUTDOWN. None connects again.
func (c *Callers) Leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leaving, c.every = true, 0
	for _, k := range c.all {
		if k.phase == connected {
			c.hangUp(k, Planned)
		}
	}
}

// Redial ends all sessions by a SHUTDOWN. Those that stay connect again, all at once.
func (c *Callers) Redial() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.all {
		if k.phase == connected {
			c.hangUp(k, Redialled)
		}
	}
}

// Rebind gives all callers other ports, as a NAT box does that has lost its bindings. Their
// sessions go on from there.
func (c *Callers) Rebind() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.within(func() error {
		for i, before := range c.fds {
			fd, err := c.openPort(i)
			if err != nil {
				return err
			}
			// The old one stays open: a NAT box does not answer by ICMP.
			c.fds[i], c.former = fd, append(c.former, before)
			if err := c.ready.Remove(before); err != nil {
				return err
			}
		}
		return nil
	})
}

// Waits returns how long each connect has taken since the last call: from when a caller wanted
// a session to when it had it, its failures included.
func (c *Callers) Waits() (all []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, c.waits = c.waits, nil
	return all
}

// Pair is an open session as an attacker must know it to forge its datagrams.
type Pair struct {
	Caller, Server uint32 // socket IDs
	Sequence       uint32 // of the caller's next data
	Received       uint32 // sequence of the server's next data
	Timestamp      uint32 // of a datagram that the caller sends now
}

// Pairs returns those of the open sessions.
func (c *Callers) Pairs() (all []Pair) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range c.all {
		if k.phase == connected {
			all = append(all, Pair{k.id, k.peer, k.source.Next(), k.check.Next(), c.timestamp()})
		}
	}
	return all
}
