package shard

import (
	"slices"

	"srtrelay/internal/message"
	"srtrelay/shard/limit"
)

// What sources and streams have is counted anew, from the sessions. Only the streams whose
// publishers are refused are written; the connects and refusals of the last ten seconds start
// anew.

// appendBlocks appends the streams whose publishers are refused.
func (u *usage) appendBlocks(b []byte, clock message.Clock) []byte {
	u.streams.Slice(0, u.streams.Places(), func(key *string, v *limit.Stream, _ bool) (keep bool) {
		if v.BlockedUntil != 0 {
			var mark int
			b, mark = message.Open(b, snapshotBlock)
			b = message.AppendBytes(b, blockStreamKey, *key)
			b = message.Close(message.AppendTime(b, blockUntil, clock, v.BlockedUntil), mark)
		}
		return true
	})
	return b
}

// restoreBlock reads one.
func (u *usage) restoreBlock(b []byte, clock message.Clock) error {
	var key []byte
	var one limit.Stream
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case blockStreamKey:
			key = slices.Clone(m.Bytes())
		case blockUntil:
			one.BlockedUntil = m.Time(clock)
		}
	}
	if m.Err() == nil {
		u.streams.Use(string(key)).BlockedUntil = one.BlockedUntil
	}
	return m.Err()
}
