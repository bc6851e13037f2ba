package shard

import (
	"context"
	"fmt"
	"time"

	"srtrelay/shard/limit"
)

// Limits are the settings of a Group that may change while it runs. They mean what the
// fields of Config of the same names mean.
type Limits struct {
	MaxSessions, MaxHalfOpen, MaxHalfOpenPerSource, MaxSessionsPerSource int

	MaxConnectsPerSource int
	MaxBitratePerSource  int64
	Subnet               limit.SourceLimits
	Stream               limit.StreamLimits

	LimitGrace, LimitBlock      time.Duration
	IdleTimeout, BackendSilence time.Duration

	Shield    bool
	Migration bool
}

// Limits returns the limits of a configuration.
func (c *Config) Limits() Limits {
	return Limits{
		MaxSessions: c.MaxSessions, MaxHalfOpen: c.MaxHalfOpen, MaxHalfOpenPerSource: c.MaxHalfOpenPerSource,
		MaxSessionsPerSource: c.MaxSessionsPerSource, MaxConnectsPerSource: c.MaxConnectsPerSource, MaxBitratePerSource: c.MaxBitratePerSource,
		Subnet: c.Subnet, Stream: c.Stream, LimitGrace: c.LimitGrace, LimitBlock: c.LimitBlock,
		IdleTimeout: c.IdleTimeout, BackendSilence: c.BackendSilence,
		Shield: c.Shield, Migration: c.Migration,
	}
}

// Set sets the limits of a configuration.
func (c *Config) Set(l Limits) {
	c.MaxSessions, c.MaxHalfOpen, c.MaxHalfOpenPerSource = l.MaxSessions, l.MaxHalfOpen, l.MaxHalfOpenPerSource
	c.MaxSessionsPerSource, c.MaxConnectsPerSource, c.MaxBitratePerSource = l.MaxSessionsPerSource, l.MaxConnectsPerSource, l.MaxBitratePerSource
	c.Subnet, c.Stream, c.LimitGrace, c.LimitBlock = l.Subnet, l.Stream, l.LimitGrace, l.LimitBlock
	c.IdleTimeout, c.BackendSilence, c.Shield = l.IdleTimeout, l.BackendSilence, l.Shield
	c.Migration = l.Migration
}

// CheckLimits returns why a group cannot take on limits while it runs, nil if it can:
// what the kernel path and the session ledger have memory for does not grow.
func (g *Group) CheckLimits(l Limits) error {
	most := indexLimit
	if g.cfg.Kernel != nil || g.recorded.Load() {
		most = g.cfg.Places()
	}
	if l.MaxSessions > most {
		return fmt.Errorf("at most %d: the kernel path and the session ledger have no place for more", most)
	}
	return nil
}

// SetLimits gives all shards other limits, which CheckLimits must have accepted. Sessions
// beyond a new cap go on. It returns when every shard judges its sessions by the new
// timeouts, or ctx ends; the limits count then, but a session may be checked late.
func (g *Group) SetLimits(ctx context.Context, l Limits) error {
	if g.cfg.Kernel != nil {
		g.cfg.Kernel.SetShield(l.Shield)
	}
	for _, s := range g.shards {
		s.inbox.setLimit(inboxLimit(l))
		s.inbox.postAlways(func(s *Shard) { s.limits = l; s.usage.epoch++ })
	}
	for _, s := range g.shards {
		if err := s.rearm(ctx); err != nil {
			return fmt.Errorf("shard %d: %w", s.id, err)
		}
	}
	return nil
}

// rearm sets the timers of established sessions anew, in slices: they may be hours away
// by the former timeouts. Any goroutine may call it.
func (s *Shard) rearm(ctx context.Context) error {
	for next, more := uint64(0), true; more; {
		err := s.inbox.do(ctx, func(s *Shard) { next, more = s.rearmSlice(next) })
		if err != nil {
			return err
		}
	}
	return nil
}

// rearmSlice sets the timers of the sessions at some places. It returns the next place,
// and whether there is one. Loop only.
func (s *Shard) rearmSlice(from uint64) (next uint64, more bool) {
	all := s.sessions.places()
	next = min(from+maxVisits, all)
	for i := from; i < next; i++ {
		if ss := s.sessions.at(uint32(i)); ss.state == StateEstablished {
			s.wheel.Set(uint32(i), s.checkDue(uint32(i), ss))
		}
	}
	return next, next < all
}

// inboxLimit is how many answers to handshakes may be pending at once.
func inboxLimit(l Limits) int { return 2*l.MaxHalfOpen + 64 }
