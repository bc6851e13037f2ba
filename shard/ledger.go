package shard

import (
	"fmt"
	"time"

	"srtrelay/shard/ledger"
)

const (
	// ledgerGrowth bounds for how many sessions a ledger grows at once: when it
	// has, their places are looked at in one turn, which takes 1 ms at most.
	ledgerGrowth = 8 * chunkSize
	// ledgerRetry is how soon memory is asked for again after there was none.
	ledgerRetry = 10 * time.Second
)

// sessionLedger is a shard's part of the session ledger, in which a session has
// the place of its index. It belongs to the loop.
type sessionLedger struct {
	region ledger.Region
	// reserve gives places memory, off the loop.
	reserve func(from, places int) error
	ready   int // places that have memory, from 0 on
	growing bool
	warned  bool
	retry   time.Duration // when memory may be asked for again
}

// LedgerPlaces is how many records a shard may need.
func (g *Group) LedgerPlaces() int {
	return (g.cfg.MaxSessions + chunkSize - 1) &^ chunkMask
}

// UseLedger has the shards keep records of their established sessions in a
// mapped file, which has h's layout and LedgerPlaces to a shard. reserve gives
// a part of the file memory, and is called off the loops. It must be called
// before Start; the file must stay mapped until Stop has returned. After an
// error no shard uses it.
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
	}
	return nil
}

// record writes the record of an established session: the one place. Whatever
// changes the caller's address calls it again.
func (s *Shard) record(i uint32, ss *Session) {
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

// unrecord clears it when the session ends.
func (s *Shard) unrecord(i uint32) {
	if int(i) < s.ledger.ready {
		s.ledger.region.Clear(int(i))
	}
}

// growLedger has memory reserved for the sessions that there is no record of
// yet. Their records are written when it is there.
func (s *Shard) growLedger() {
	l := &s.ledger
	if l.growing || s.now < l.retry {
		return
	}
	from, reserve, warned := l.ready, l.reserve, l.warned
	n := min(len(s.sessions.chunks)<<chunkBits-from, ledgerGrowth, l.region.Len()-from)
	l.growing = true
	s.prepare(func() {
		err := reserve(from, n)
		if err != nil && !warned {
			s.cfg.Log.Warn("the session ledger does not grow: callers of further sessions are not told after a SIGKILL",
				"shard", s.id, "sessions", from, "error", err)
		}
		s.inbox.insist(func(s *Shard) { s.ledgerGrown(n, err) })
	})
}

// ledgerGrown writes the records of sessions that had no place before.
func (s *Shard) ledgerGrown(n int, err error) {
	l := &s.ledger
	l.growing = false
	if err != nil {
		l.warned, l.retry = true, s.now+ledgerRetry
		return
	}
	from := l.ready
	l.ready += n
	for i := uint32(from); i < uint32(l.ready); i++ {
		if ss := s.sessions.at(i); ss.state == established {
			s.record(i, ss)
		}
	}
	if l.ready < min(len(s.sessions.chunks)<<chunkBits, l.region.Len()) {
		s.growLedger()
	}
}
