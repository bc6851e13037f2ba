package streams

import "srtrelay/shard"

const (
	chunkBits = 10
	chunkSize = 1 << chunkBits // tracks allocated at once: 128 KiB
	chunkMask = chunkSize - 1
)

// tracks holds the tracks by shard and session index, as the shards hold the sessions:
// without a hash, and in the same order. Shards reuse indices; the generation tells the
// sessions apart.
//
// It grows by chunks, so that a track never moves, and frees chunks without tracks.
type tracks struct{ shards [][]chunk }

type chunk struct {
	tracks *[chunkSize]track // nil while used is 0
	used   int
}

// of returns the track of a session, nil if it has none.
func (ts *tracks) of(id shard.SessionID) *track {
	if id.IsZero() || id.Shard < 0 || id.Shard >= len(ts.shards) {
		return nil
	}
	chunks := ts.shards[id.Shard]
	c := int(id.Index >> chunkBits)
	if c >= len(chunks) || chunks[c].tracks == nil {
		return nil
	}
	if t := &chunks[c].tracks[id.Index&chunkMask]; t.gen == id.Gen {
		return t
	}
	return nil
}

// add returns an empty track for a session, in place of the track of an earlier session
// with the same index.
func (ts *tracks) add(id shard.SessionID) *track {
	for id.Shard >= len(ts.shards) {
		ts.shards = append(ts.shards, nil)
	}
	chunks := &ts.shards[id.Shard]
	for int(id.Index>>chunkBits) >= len(*chunks) {
		*chunks = append(*chunks, chunk{})
	}
	c := &(*chunks)[id.Index>>chunkBits]
	if c.tracks == nil {
		c.tracks = new([chunkSize]track)
	}
	t := &c.tracks[id.Index&chunkMask]
	if t.gen == 0 {
		c.used++
	}
	*t = track{gen: id.Gen}
	return t
}

// sweep removes all tracks for which keep returns false.
func (ts *tracks) sweep(keep func(*track) bool) {
	for _, chunks := range ts.shards {
		for i := range chunks {
			chunks[i].sweep(keep)
		}
	}
}

func (c *chunk) sweep(keep func(*track) bool) {
	if c.used == 0 {
		return
	}
	for i := range c.tracks {
		if t := &c.tracks[i]; t.gen != 0 && !keep(t) {
			*t = track{}
			c.used--
		}
	}
	if c.used == 0 {
		c.tracks = nil
	}
}
