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

// sessionLedger is a shard's part of the session ledger. It belongs to the loop.
type sessionLedger struct {
	region ledger.Region
	recordFile
}

// recordFile is a shard's part of a mapped file that has a place for each session: that of
// the session's index. It belongs to the loop.
type recordFile struct {
	places int // 0 without a file
	// reserve allocates memory for places; it is called off the loop.
	reserve func(from, places int) error
	ready   int // the first places, which have memory
	growing bool
	warned  bool
	retry   time.Duration // when memory may be asked for again
	warning string        // what is missing if there is no memory
}

// newRecordFile returns a part of perShard records of a size that begins at start in its file.
// The first chunk has memory.
func newRecordFile(perShard int, start, size int64, reserve func(offset, n int64) error) (recordFile, error) {
	f := recordFile{places: perShard, ready: min(chunkSize, perShard)}
	f.reserve = func(from, places int) error { return reserve(start+int64(from)*size, int64(places)*size) }
	return f, f.reserve(0, f.ready)
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
	for k := range parts {
		start := ledger.HeaderSize + int64(k)*int64(h.PerShard)*ledger.RecordSize
		part, err := newRecordFile(h.PerShard, start, ledger.RecordSize, reserve)
		if err != nil {
			return fmt.Errorf("reserve memory for shard %d: %w", k, err)
		}
		part.warning = "the session ledger does not grow: callers of further sessions are not told after a SIGKILL"
		parts[k] = sessionLedger{h.Region(file, k), part}
	}
	for k, s := range g.shards {
		s.ledger = parts[k]
		s.writeRecords()
	}
	g.recorded.Store(true)
	return nil
}

// writeRecords writes the records of all established sessions: those that were restored.
func (s *Shard) writeRecords() {
	s.recordPlaces(&s.ledger.recordFile, 0, s.ledger.ready, s.writeLedger)
	s.recordPlaces(&s.checkpoints.recordFile, 0, s.checkpoints.ready, s.writeCheckpoint)
}

// recordPlaces writes the records of the sessions at some places, and asks for memory if there
// are further ones.
func (s *Shard) recordPlaces(f *recordFile, from, to int, write func(uint32, *session)) {
	places := int(s.sessions.places())
	for i := from; i < min(to, places); i++ {
		if ss := s.sessions.at(uint32(i)); ss.state == StateEstablished {
			write(uint32(i), ss)
		}
	}
	if f.ready < min(places, f.places) {
		s.growRecords(f, write)
	}
}

// writeRecord writes the records of an established session, those for its callers and those
// for the next process. It must be called again when the caller's address changes.
func (s *Shard) writeRecord(i uint32, ss *session) {
	s.writeLedger(i, ss)
	s.writeCheckpoint(i, ss)
}

// writeLedger writes the session's record of the session ledger.
func (s *Shard) writeLedger(i uint32, ss *session) {
	l := &s.ledger
	switch {
	case int(i) < l.ready:
		l.region.Put(int(i), &ledger.Record{
			Caller: ss.caller, Local: ss.local, CallerID: ss.callerID, Gen: ss.gen, Listener: ss.front,
		})
	case int(i) < l.places:
		s.growRecords(&l.recordFile, s.writeLedger)
	}
}

// clearRecord clears the records of a session that ends.
func (s *Shard) clearRecord(i uint32) {
	if int(i) < s.ledger.ready {
		s.ledger.region.Clear(int(i))
	}
	if int(i) < s.checkpoints.ready {
		s.checkpoints.region.Clear(int(i))
	}
}

// growRecords has memory reserved for the records of further sessions; onRecordsGrown has
// them written.
func (s *Shard) growRecords(f *recordFile, write func(uint32, *session)) {
	if f.growing || s.now < f.retry {
		return
	}
	from, reserve, warned, warning := f.ready, f.reserve, f.warned, f.warning
	n := min(len(s.sessions.chunks)<<chunkBits-from, ledgerGrowth, f.places-from)
	f.growing = true
	s.background(func() {
		err := reserve(from, n)
		if err != nil && !warned {
			s.cfg.Log.Warn(warning, "shard", s.id, "sessions", from, "error", err)
		}
		s.inbox.postAlways(func(s *Shard) { s.onRecordsGrown(f, n, err, write) })
	})
}

// onRecordsGrown writes the records of the sessions that had no place before.
func (s *Shard) onRecordsGrown(f *recordFile, n int, err error, write func(uint32, *session)) {
	f.growing = false
	if err != nil {
		f.warned, f.retry = true, s.now+ledgerRetry
		return
	}
	from := f.ready
	f.ready += n
	s.recordPlaces(f, from, f.ready, write)
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
