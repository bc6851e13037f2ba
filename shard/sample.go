package shard

import (
	"context"
	"time"
)

// maxSamples limits what one call of Samples returns: enough that the loop and the caller
// seldom wait for each other, and few enough to stay in the cache meanwhile.
const maxSamples = 4 * maxViews

// Samples copies samples of the established sessions that have carried media since a time,
// from a cursor on, and returns as Walk does. While nothing is measured any datagram counts
// as media. The shard takes a turn for each maxViews of them.
func (g *Group) Samples(ctx context.Context, from Cursor, dst []Sample, since time.Time) (n int, next Cursor, done bool, err error) {
	if from.Shard < 0 || from.Shard >= len(g.shards) {
		return 0, from, true, nil
	}
	dst = dst[:min(len(dst), maxSamples)]
	got, at := 0, from
	err = g.shards[from.Shard].inbox.doInTurns(ctx, func(s *Shard) bool {
		few, index, end := s.sampleSome(at.Index, dst[got:min(got+maxViews, len(dst))], since.Sub(s.origin))
		got += few
		if at.Index = index; end {
			at = Cursor{Shard: from.Shard + 1}
		}
		return end || got == len(dst)
	})
	if err != nil {
		return 0, from, false, err
	}
	return got, at, at.Shard == len(g.shards), nil
}

// sampleSome is one turn of Samples. Loop only.
func (s *Shard) sampleSome(from uint32, dst []Sample, since time.Duration) (n int, next uint32, end bool) {
	return s.visitSome(from, len(dst),
		func(i uint32, ss *session) bool { return ss.state == StateEstablished && s.activeSince(i, ss, since) },
		func(k int, i uint32, ss *session) { s.fillSample(i, ss, &dst[k]) })
}

// activeSince reports whether a session has carried media since a time.
func (s *Shard) activeSince(i uint32, ss *session, since time.Duration) bool {
	if !s.cfg.Telemetry || s.meters.Paused() {
		return max(ss.callerSeen, ss.backendSeen) >= since
	}
	if ss.inKernel && s.kernel.mediaSince(i, since) {
		return true
	}
	last, ok := s.meters.LastData(&ss.meter)
	return ok && last >= since
}

// fillSample copies what changes of a session.
func (s *Shard) fillSample(i uint32, ss *session, to *Sample) {
	s.refresh(i, ss)
	*to = Sample{
		ID: SessionID{s.id, i, ss.gen}, Key: s.sessions.cold(i).key(), Publish: ss.publisher,
		Begun: s.wallTime(ss.establishedAt), Taken: s.wallTime(s.now),
		ToBackend: ss.toBackend, ToCaller: ss.toCaller, Ways: s.meters.Report(&ss.meter),
	}
}
