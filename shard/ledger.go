package shard

import (
	"context"
	"fmt"
	"time"

	"srtrelay/shard/ledger"
	"srtrelay/wire"
)

const (
	// ledgerGrowth bounds for how many sessions a ledger grows at once: when it
	// has, their places are looked at in one turn, which takes 1 ms at most.
	ledgerGrowth = 8 * chunkSize
	// ledgerRetry is how soon memory is asked for again after there was none.
	ledgerRetry = 10 * time.Second
)

// sessionLedger is a shard's part of the session ledger. The place of a session's
// record is the session's index. It belongs to the loop.
type sessionLedger struct {
	region ledger.Region
	// reserve allocates memory for places; it is called off the loop.
	reserve func(from, places int) error
	ready   int // the first places, which have memory
	growing bool
	warned  bool
	retry   time.Duration // when memory may be asked for again
}

// LedgerPlaces is how many records a shard may need.
func (g *Group) LedgerPlaces() int { return g.cfg.Places() }

// UseLedger has the shards keep records of their established sessions in a
// mapped file, which has h's layout and LedgerPlaces to a shard. reserve gives
// a part of the file memory, and is called off the loops. It must be called
// before Start; the file must stay mapped until Stop has returned. After an
// error no shard uses it. The sessions of shards that have been restored are recorded.
func (g *Group) UseLedger(h *ledger.Header, file []byte, reserve func(offset, n int64) error) error {
	parts := make([]sessionLedger, len(g.shards))
	first := min(chunkSize, h.PerShard)
	for k := range parts {
		start := ledger.HeaderSize + int64(k)*int64(h.PerShard)*ledger.RecordSize
		parts[k] = sessionLedger{
			region: h.Region(file, k),
			reserve: func(from, places int) error {
				return reserve(start+int64(from)*ledger.RecordSize, int64(places)*ledger.RecordSize)
			},
			ready: first,
		}
		if err := parts[k].reserve(0, first); err != nil {
			return fmt.Errorf("reserve memory for shard %d: %w", k, err)
		}
	}
	for k, s := range g.shards {
		s.ledger = parts[k]
		s.writeRecords()
	}
	g.recorded.Store(true)
	return nil
}

// writeRecords writes the records of all established sessions: those that were restored.
func (s *Shard) writeRecords() { s.recordPlaces(0, s.ledger.ready) }

// recordPlaces writes the records of the sessions at some places, and asks for memory if there
// are further ones.
func (s *Shard) recordPlaces(from, to int) {
	l, places := &s.ledger, int(s.sessions.places())
	for i := from; i < min(to, places); i++ {
		if ss := s.sessions.at(uint32(i)); ss.state == StateEstablished {
			s.writeRecord(uint32(i), ss)
		}
	}
	if l.ready < min(places, l.region.Len()) {
		s.growLedger()
	}
}

// writeRecord writes the record of an established session. It must be called again
// when the caller's address changes.
func (s *Shard) writeRecord(i uint32, ss *session) {
	l := &s.ledger
	switch {
	case int(i) < l.ready:
		l.region.Put(int(i), &ledger.Record{
			Caller: ss.caller, Local: ss.local, CallerID: ss.callerID, Gen: ss.gen, Listener: ss.front,
		})
	case int(i) < l.region.Len():
		s.growLedger()
	}
}

// clearRecord clears the record of a session that ends.
func (s *Shard) clearRecord(i uint32) {
	if int(i) < s.ledger.ready {
		s.ledger.region.Clear(int(i))
	}
}

// growLedger has memory reserved for the records of further sessions; onLedgerGrown
// writes them.
func (s *Shard) growLedger() {
	l := &s.ledger
	if l.growing || s.now < l.retry {
		return
	}
	from, reserve, warned := l.ready, l.reserve, l.warned
	n := min(len(s.sessions.chunks)<<chunkBits-from, ledgerGrowth, l.region.Len()-from)
	l.growing = true
	s.background(func() {
		err := reserve(from, n)
		if err != nil && !warned {
			s.cfg.Log.Warn("the session ledger does not grow: callers of further sessions are not told after a SIGKILL",
				"shard", s.id, "sessions", from, "error", err)
		}
		s.inbox.postAlways(func(s *Shard) { s.onLedgerGrown(n, err) })
	})
}

// onLedgerGrown writes the records of the sessions that had no place before.
func (s *Shard) onLedgerGrown(n int, err error) {
	l := &s.ledger
	l.growing = false
	if err != nil {
		l.warned, l.retry = true, s.now+ledgerRetry
		return
	}
	from := l.ready
	l.ready += n
	s.recordPlaces(from, l.ready)
}

const (
	// formerPerSlice is how many callers of an earlier process get a SHUTDOWN in
	// one turn, which takes some 1 ms.
	formerPerSlice = 500
	// formerInterval is the time between slices. It limits the rate to some 3
	// Mbit/s.
	formerInterval = 25 * time.Millisecond
)

// ShutDownFormerCallers sends each caller of an earlier process a SHUTDOWN, at a
// limited rate, and returns how many. Record.Listener must be an index of this
// group's listeners. A caller that has a session with the same socket ID again gets
// none. The group must have been started; it returns early when ctx ends or the
// group stops.
func (g *Group) ShutDownFormerCallers(ctx context.Context, callers []ledger.Record) (sent int) {
	pause := time.NewTicker(formerInterval)
	defer pause.Stop()
	for k := 0; len(callers) > 0; k++ {
		n := min(formerPerSlice, len(callers))
		n2, err := g.shutDownFormerSlice(ctx, k%len(g.shards), callers[:n])
		sent += n2
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

// shutDownFormerSlice handles one slice. Every shard is asked which of the callers it
// has a session with, because the kernel may have given them to any; the one that
// sends is asked last.
func (g *Group) shutDownFormerSlice(ctx context.Context, sender int, callers []ledger.Record) (sent int, err error) {
	back := make([]bool, len(callers))
	for k := range g.shards {
		s := g.shards[(sender+1+k)%len(g.shards)]
		err := s.inbox.do(ctx, func(s *Shard) {
			s.findFormer(callers, back)
			if s == g.shards[sender] && !s.endingSessions {
				sent = s.sendFormerShutdowns(callers, back)
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
		if _, ss := s.sessions.byCaller(c.Listener, &c.Caller, c.CallerID); ss != nil {
			back[k] = true
		}
	}
}

// sendFormerShutdowns sends a SHUTDOWN to those that are not back, from the address
// that they had dialled. Any shard can, because the sockets of a listen address share
// it.
func (s *Shard) sendFormerShutdowns(callers []ledger.Record, back []bool) (sent int) {
	for k := range callers {
		c := &callers[k]
		if back[k] {
			continue
		}
		s.counters.inc(CountShutdownsMade)
		b := s.keepScratch(wire.AppendShutdown(s.scratchTail(), 0, c.CallerID))
		s.fronts[c.Listener].out.Add(c.Caller, c.Local, c.CallerID, b)
		sent++
	}
	return sent
}
