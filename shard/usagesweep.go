package shard

import (
	"time"

	"srtrelay/shard/limit"
)

const (
	// sweepEvery is how often the bitrates of sessions are measured, and what has passed in
	// the kernel is added up. Timers and lists add up that of sessions that they look at.
	sweepEvery = time.Second
	// sweepGap is the least time between the chunks of a sweep: each takes some 0.3 ms, and
	// a shard with 100,000 sessions would do little else. Their sweep takes 5 s.
	sweepGap = bundleEvery
	// listEvery is how often a shard publishes its sources and streams.
	listEvery = time.Second
	// placesPerTurn limits the entries that a turn lists: some 0.2 ms.
	placesPerTurn = 2048
	// listGap is the least time between two slices of a list.
	listGap = 5 * time.Millisecond
)

// meteredBytes is what counts for the bitrate of a session: of a publisher what it sends, of
// a player what it gets.
func meteredBytes(ss *session) uint64 {
	if ss.publisher {
		return ss.toBackend.Bytes
	}
	return ss.toCaller.Bytes
}

// usageDue returns when usageTurn has something to do though nothing arrives.
func (s *Shard) usageDue() (time.Duration, bool) {
	u := &s.usage
	if s.sessions.live > 0 {
		return min(u.chunkAt, u.listAt), true
	}
	return u.listAt, u.listed || u.sources.Len() > 0 || u.streams.Len() > 0
}

// usageTurn measures the bitrates of some sessions, and lists some sources and streams, when
// that is due.
func (s *Shard) usageTurn() {
	u := &s.usage
	due, ok := s.usageDue()
	if !ok || s.now < due {
		return
	}
	switch {
	case s.sessions.live == 0:
		u.paused = true
	case s.now >= u.chunkAt:
		s.meterSessions()
	}
	if s.now >= u.listAt {
		s.listUsage()
	}
}

// meterSessions measures the sessions of the next chunk: all of them once per sweepEvery, or
// with sweepGap between the chunks. It adds up what has passed in the kernel, too.
func (s *Shard) meterSessions() {
	u := &s.usage
	if u.paused {
		// Nobody was there to visit: the time since does not count.
		for k := range u.accounts {
			u.accounts[k].clock = limit.Clock{}
		}
		u.paused = false
	}
	if u.chunk >= len(s.sessions.chunks) {
		u.chunk = 0
		u.sweep++
	}
	if u.chunk < len(u.accounts) {
		c := &u.accounts[u.chunk]
		c.clock.Visit(s.now)
		if epoch := s.limitsEpoch(); c.epoch != epoch {
			s.rejoinStreams(u.chunk)
			c.epoch = epoch
		}
		ended := 0
		s.sessions.slice(u.chunk, 1, func(i uint32, ss *session) {
			if ss.state == StateEstablished && s.meterSession(i, ss, ended < endsPerTurn) {
				ended++
			}
		})
	}
	u.chunk++
	u.chunkAt = (s.now + max(sweepEvery/time.Duration(max(len(s.sessions.chunks), 1)), sweepGap)).Truncate(bundleEvery)
}

// meterSession measures one session. It reports whether it has ended it, which it does only
// if mayEnd.
func (s *Shard) meterSession(i uint32, ss *session, mayEnd bool) (ended bool) {
	if s.meters.Paused() {
		s.refresh(i, ss) // what passes in a gap is not to be measured after it
	} else {
		s.refreshCounts(i, ss)
	}
	u := &s.usage
	a := u.account(i)
	bits := a.meter.Visit(&u.accounts[i>>chunkBits].clock, meteredBytes(ss))
	u.sources.At(a.source).Bitrate.Add(u.sweep, bits)
	u.sources.At(a.subnet).Bitrate.Add(u.sweep, bits)
	if !ss.publisher || a.stream == 0 {
		return false
	}
	st := u.streams.At(a.stream)
	st.Bitrate.Max(u.sweep, bits)
	most := uint64(s.limitsOfStream(st, s.sessions.cold(i).key()).Bitrate)
	if most == 0 || bits <= most {
		u.belowLimit(i, s.now)
		return false
	}
	return s.overLimit(i, ss, bits, most, mayEnd)
}

// belowLimit notes that a publisher is not above its bitrate.
func (u *usage) belowLimit(i uint32, now time.Duration) {
	o, was := u.over[i]
	switch {
	case !was:
	case now-o.reportedAt >= limit.WindowLength:
		delete(u.over, i)
	case o.since != 0:
		u.over[i] = overBitrate{reportedAt: o.reportedAt}
	}
}

// overLimit handles a publisher that is above its bitrate: it is reported, and ended after a
// grace. Dropping its datagrams would only make it send them again.
func (s *Shard) overLimit(i uint32, ss *session, bits, most uint64, mayEnd bool) (ended bool) {
	o := s.usage.over[i]
	if o.since == 0 {
		o.since = s.now
		s.counters.inc(CountStreamsOverLimit)
		if o.reportedAt == 0 || s.now-o.reportedAt >= limit.WindowLength {
			o.reportedAt = s.now
			e := s.sessionEvent(EventStreamOverLimit, i, ss)
			e.Bitrate, e.MaxBitrate = bits, most
			s.emit(e)
		}
		s.usage.over[i] = o
	}
	if s.now-o.since < s.limits.LimitGrace || !mayEnd {
		return false
	}
	key, until := s.sessions.cold(i).key(), s.now+s.limits.LimitBlock
	s.blockStream(key, until)
	for _, other := range s.others {
		other.inbox.postReserved(func(o *Shard) { o.blockStream(key, until) })
	}
	s.endSession(i, ss, CauseOverLimit)
	return true
}

// blockStream refuses the publishers of a stream until a time.
func (s *Shard) blockStream(key string, until time.Duration) {
	if until > s.now {
		st := s.usage.streams.Use(key)
		st.BlockedUntil = max(st.BlockedUntil, until)
	}
}

// listUsage lists the next sources or streams, and publishes the list when it is complete.
func (s *Shard) listUsage() {
	u := &s.usage
	if u.place == 0 && !u.listingStreams {
		u.began = s.now
	}
	if !u.listingStreams {
		u.place = u.sources.Slice(u.place, placesPerTurn, s.listSource)
		u.listingStreams = u.place == 0
	} else {
		u.place = u.streams.Slice(u.place, placesPerTurn, s.listStream)
		u.listingStreams = u.place != 0
	}
	if u.place != 0 || u.listingStreams {
		u.listAt = s.now + listGap
		return
	}
	u.listAt = max(u.began+listEvery, s.now+listGap)
	r := u.lister.Report()
	u.listed = !r.Empty()
	if u.sums.Publish(u.shard, r, s.now, listEvery) && s.background != nil {
		s.background(u.sums.Sum)
	}
}

func (s *Shard) listSource(p *limit.Prefix, v *limit.Source, held bool) (keep bool) {
	one := v.Usage(s.now, s.usage.sweep)
	if !held && one.IsZero() && v.Refusals.Count(s.now) == 0 {
		return false
	}
	s.usage.lister.Source(*p, one)
	return true
}

func (s *Shard) listStream(key *string, v *limit.Stream, held bool) (keep bool) {
	if v.BlockedUntil != 0 && s.now >= v.BlockedUntil {
		v.BlockedUntil = 0
	}
	if !held && v.BlockedUntil == 0 {
		return false
	}
	if *s.limitsOfStream(v, *key) != (limit.StreamLimits{}) { // nobody asks for the others
		s.usage.lister.Stream(*key, v.Usage(s.usage.sweep))
	}
	return true
}
