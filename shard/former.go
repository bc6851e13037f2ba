package shard

import (
	"context"
	"time"

	"srtrelay/shard/ledger"
	"srtrelay/wire"
)

const (
	// formerPerSlice bounds how many callers of an earlier process are told in
	// one turn: some 1 ms of it.
	formerPerSlice = 500
	// formerEvery spaces the slices: 20,000 SHUTDOWNs/s at most, which is 3 Mbit/s.
	formerEvery = 25 * time.Millisecond
)

// TellFormer sends the callers of an earlier process a SHUTDOWN each, at a
// bounded rate, and returns how many. Record.Listener must be an index of this
// group's listeners. A caller that has come back with the same socket ID is left
// alone. The group must have been started; it returns early when ctx ends or
// the group stops.
func (g *Group) TellFormer(ctx context.Context, callers []ledger.Record) (sent int) {
	pause := time.NewTicker(formerEvery)
	defer pause.Stop()
	for k := 0; len(callers) > 0; k++ {
		n := min(formerPerSlice, len(callers))
		told, err := g.tellFormer(ctx, k%len(g.shards), callers[:n])
		sent += told
		callers = callers[n:]
		if err != nil || len(callers) == 0 {
			return sent
		}
		select {
		case <-ctx.Done():
			return sent
		case <-pause.C:
		}
	}
	return sent
}

// tellFormer tells one slice. Every shard is asked which of the callers it has
// a session with, because the kernel may have given them to any; the one that
// sends is asked last.
func (g *Group) tellFormer(ctx context.Context, sender int, callers []ledger.Record) (sent int, err error) {
	back := make([]bool, len(callers))
	for k := range g.shards {
		s := g.shards[(sender+1+k)%len(g.shards)]
		err := s.ask(ctx, func(s *Shard) {
			s.findFormer(callers, back)
			if s == g.shards[sender] && !s.leaving {
				sent = s.shutDownFormer(callers, back)
			}
		})
		if err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// findFormer marks the callers that this shard has a session with.
func (s *Shard) findFormer(callers []ledger.Record, back []bool) {
	for k := range callers {
		c := &callers[k]
		if _, ss := s.byCaller(c.Listener, &c.Caller, c.CallerID); ss != nil {
			back[k] = true
		}
	}
}

// shutDownFormer sends those that are not back a SHUTDOWN from the address that
// they had dialled. Any shard can: all sockets of a listen address send from
// the same one.
func (s *Shard) shutDownFormer(callers []ledger.Record, back []bool) (sent int) {
	for k := range callers {
		c := &callers[k]
		if back[k] {
			continue
		}
		s.counters.inc(ShutdownsMade)
		b := s.made(wire.AppendShutdown(s.room(), 0, c.CallerID))
		s.fronts[c.Listener].out.Add(c.Caller, c.Local, c.CallerID, b)
		sent++
	}
	return sent
}
