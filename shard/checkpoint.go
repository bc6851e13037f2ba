package shard

import (
	"fmt"

	"srtrelay/internal/message"
	"srtrelay/shard/checkpoint"
)

// checkpoints is a shard's part of the checkpoint: what the next process needs to go on with
// the established sessions after a crash. It belongs to the loop.
type checkpoints struct {
	region checkpoint.Region
	recordFile
	scratch []byte
}

// Fields of a record of the checkpoint, beside that of the session (snapshotSession).
const (
	checkpointPeerID      message.Number = 1
	checkpointPeerAddress message.Number = 2
)

// UseCheckpoint has the shards keep records of their established sessions in a mapped file,
// which has h's layout and LedgerPlaces to a shard. Everything else is as with UseLedger.
func (g *Group) UseCheckpoint(h *checkpoint.Header, file []byte, reserve func(offset, n int64) error) error {
	parts := make([]checkpoints, len(g.shards))
	for k := range parts {
		start := checkpoint.HeaderSize + int64(k)*int64(h.PerShard)*checkpoint.SlotSize
		part, err := newRecordFile(h.PerShard, start, checkpoint.SlotSize, reserve)
		if err != nil {
			return fmt.Errorf("reserve memory for shard %d: %w", k, err)
		}
		part.warning = "the checkpoint does not grow: further sessions end with a crash"
		parts[k] = checkpoints{region: h.Region(file, k), recordFile: part}
	}
	for k, s := range g.shards {
		s.checkpoints = parts[k]
		s.recordPlaces(&s.checkpoints.recordFile, 0, s.checkpoints.ready, s.writeCheckpoint)
	}
	return nil
}

// writeCheckpoint writes the record of an established session. It must be called again when
// something of it changes that datagrams do not change: the addresses, the terms, its entry in
// the kernel path.
func (s *Shard) writeCheckpoint(i uint32, ss *session) {
	c := &s.checkpoints
	switch {
	case int(i) < c.ready:
		p := s.sessions.cold(i).peer
		w := snapshotWriter{Shard: s, clock: s.clock(), brief: true}
		b := message.AppendBytes(c.scratch[:0], checkpointPeerID, p.id)
		b = appendAddress(b, checkpointPeerAddress, p.addr)
		b = w.session(b, i, ss)
		c.scratch = b
		c.region.Put(int(i), b) // one that is too long ends with a crash
	case int(i) < c.places:
		s.growRecords(&c.recordFile, s.writeCheckpoint)
	}
}
