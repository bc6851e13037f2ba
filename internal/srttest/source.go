package srttest

import (
	"math/rand/v2"
	"time"

	"srtrelay/wire"
)

const (
	// sourceTick is the finest pace: faster rates send several packets per tick.
	sourceTick = 2 * time.Millisecond
	// sourceBurst bounds what a late tick catches up with.
	sourceBurst = 256
)

// startSource begins to send paced data, or goes on where it was stopped.
func (c *Connection) startSource() {
	c.mu.Lock()
	running := c.sourcing || c.isDone
	if !running {
		sofar := time.Duration(float64(c.sourced) / float64(c.listener.cfg.Rate) * float64(time.Second))
		c.sourcing, c.sourceAt = true, time.Now().Add(-sofar)
	}
	c.mu.Unlock()
	if !running {
		c.pace()
	}
}

// pace sends what is due and schedules the next call.
func (c *Connection) pace() {
	cfg := &c.listener.cfg
	payload := make([]byte, cfg.PayloadSize)
	c.mu.Lock()
	defer c.mu.Unlock()
	due := int(time.Since(c.sourceAt).Seconds()*float64(cfg.Rate)) + 1
	if cfg.Limit > 0 {
		due = min(due, cfg.Limit)
	}
	for range min(due-c.sourced, sourceBurst) {
		if c.sendData(payload) != nil {
			break
		}
		c.sourced++
	}
	over := cfg.Limit > 0 && c.sourced >= cfg.Limit
	if over || c.isDone || Mode(c.listener.mode.Load()) != Source {
		c.sourcing = false
		return
	}
	tick := max(time.Second/time.Duration(cfg.Rate), sourceTick)
	c.sourcing = c.listener.scheduler.after(tick, c.pace)
}

// spoil makes an answer lie. The answer is a copy that may be changed.
func spoil(h wire.Handshake, l Lie) []byte {
	switch l {
	case Honest:
	case WrongDestID:
		h.Packet().SetDestID(h.Packet().DestID() + 1)
	case WrongISN:
		h.SetISN((h.ISN() + 1) % sequenceMask)
	case Garbage:
		dest := h.Packet().DestID()
		for i := range h {
			h[i] = byte(rand.Uint32())
		}
		h.Packet().SetDestID(dest)
	case Truncated:
		return h[:40]
	}
	return h
}
