package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/shard/limit"
	"srtrelay/shard/migration"
	"srtrelay/streamid/rules"
)

const (
	// idleSources and idleStreams are how many sources and streams without a session a shard
	// keeps: those that connected or were refused in the last ten seconds, and those whose
	// publishers are refused.
	idleSources = 8192
	idleStreams = 4096
	// sweepEvery is how often the bitrates of sessions are measured, and what has passed in
	// the kernel is added up. Timers and lists add up that of sessions that they look at.
	sweepEvery = migration.PassEvery
	// sweepGap is the least time between the chunks of a sweep: each takes some 0.3 ms, and
	// a shard with 100,000 sessions would do little else. Their sweep takes 5 s.
	sweepGap = 50 * time.Millisecond
	// listEvery is how often a shard publishes its sources and streams.
	listEvery = time.Second
	// placesPerTurn limits the entries that a turn lists: some 0.2 ms.
	placesPerTurn = 2048
	// listGap is the least time between two slices of a list.
	listGap = 5 * time.Millisecond
)

// usage counts what sources and streams have of the shard, by session: each has an account
// from its handshake on until it is freed. It belongs to the loop; sums are the group's.
type usage struct {
	shard    int
	sums     *limit.Sums
	sources  *limit.Table[limit.Prefix, limit.Source]
	streams  *limit.Table[string, limit.Stream]
	accounts []*accountChunk

	// sweep counts the visits to all sessions, which are made a chunk at a time; see
	// meterSessions.
	sweep   uint32
	chunk   int
	chunkAt time.Duration // when the next chunk is visited
	paused  bool          // there were no sessions to visit

	// What is being listed, and the next place of it; see listUsage.
	lister         limit.Lister
	listingStreams bool
	place          int
	listAt, began  time.Duration
	listed         bool // the last report has something

	// epoch changes when the limits or the rules do.
	epoch uint32
	rules *rules.Set
}

// accountChunk has the accounts of a chunk of sessions.
type accountChunk struct {
	clock limit.Clock
	of    [chunkSize]account
}

// account is what a session is counted at.
type account struct {
	source, subnet, stream limit.Ref // held; 0 in one that is not in use
	session                bool      // it counts as a session, no longer as a handshake
	inStream               bool      // it is one of the stream's players or publishers
	publisher              bool
	meter                  limit.Meter
	// overSince is since when the publisher is above its bitrate, 0 if it is not;
	// reportedAt when that was last reported.
	overSince, reportedAt time.Duration
}

func newUsage(shard int, sums *limit.Sums) usage {
	return usage{
		shard: shard, sums: sums, sweep: 1, epoch: 1,
		sources: limit.NewTable[limit.Prefix, limit.Source](idleSources),
		streams: limit.NewTable[string, limit.Stream](idleStreams),
	}
}

func (u *usage) account(i uint32) *account {
	for int(i>>chunkBits) >= len(u.accounts) {
		u.accounts = append(u.accounts, new(accountChunk))
	}
	return &u.accounts[i>>chunkBits].of[i&chunkMask]
}

// open begins the account of session i, as a handshake.
func (u *usage) open(i uint32, ip addr.IP, key string, publish bool) {
	a := u.account(i)
	*a = account{inStream: true, publisher: publish}
	u.holdSource(a, ip)
	var st *limit.Stream
	a.stream, st = u.streams.Hold(key)
	u.countStream(st, publish, 1)
}

func (u *usage) holdSource(a *account, ip addr.IP) {
	a.source, _ = u.sources.Hold(limit.PrefixOf(ip, limit.LevelSource))
	a.subnet, _ = u.sources.Hold(limit.PrefixOf(ip, limit.LevelSubnet))
	u.countSource(a, 1)
}

// countSource adds to the handshakes or the sessions of an account's source and subnet.
func (u *usage) countSource(a *account, by int32) {
	for _, r := range [...]limit.Ref{a.source, a.subnet} {
		if s := u.sources.At(r); a.session {
			s.Sessions += by
		} else {
			s.Handshakes += by
		}
	}
}

func (u *usage) countStream(st *limit.Stream, publish bool, by int32) {
	if publish {
		st.Publishers += by
	} else {
		st.Players += by
	}
}

// connected counts a caller that was let in.
func (u *usage) connected(i uint32, now time.Duration) {
	a := u.account(i)
	u.sources.At(a.source).Connects.Add(now)
	u.sources.At(a.subnet).Connects.Add(now)
}

// establish counts a handshake as a session.
func (u *usage) establish(i uint32) {
	a := u.account(i)
	u.countSource(a, -1)
	a.session = true
	u.countSource(a, 1)
}

// leaveStream notes that a session has ended, or was rejected. Its source has it until it is
// freed.
func (u *usage) leaveStream(i uint32) {
	if a := u.account(i); a.inStream {
		u.countStream(u.streams.At(a.stream), a.publisher, -1)
		a.inStream = false
	}
}

// free ends an account.
func (u *usage) free(i uint32) {
	u.leaveStream(i)
	a := u.account(i)
	u.releaseSource(a)
	u.streams.Release(a.stream)
	if st := u.streams.At(a.stream); st.BlockedUntil == 0 {
		u.streams.Forget(a.stream)
	}
	*a = account{}
}

func (u *usage) releaseSource(a *account) {
	u.countSource(a, -1)
	for _, r := range [...]limit.Ref{a.source, a.subnet} {
		if s := u.sources.At(r); s.Sessions+s.Handshakes == 0 {
			s.Bitrate = limit.Rate{} // no sweep adds to it any more
		}
		u.sources.Release(r)
	}
}

// moved counts a session at the address that its caller has now.
func (u *usage) moved(i uint32, ip addr.IP) {
	a := u.account(i)
	u.releaseSource(a)
	u.holdSource(a, ip)
}

// restored begins the account of a session of another process.
func (u *usage) restored(i uint32, ss *session, key string) {
	u.open(i, ss.caller.IP, key, ss.publisher)
	a := u.account(i)
	a.meter.Begin(meteredBytes(ss))
	switch ss.state {
	case StateEstablished:
		u.establish(i)
	case StateClosing:
		u.establish(i)
		u.leaveStream(i)
	case StateRejected:
		u.leaveStream(i)
	}
}

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
		for _, c := range u.accounts {
			c.clock = limit.Clock{}
		}
		u.paused = false
	}
	if u.chunk >= len(s.sessions.chunks) {
		u.chunk = 0
		u.sweep++
	}
	if u.chunk < len(u.accounts) {
		u.accounts[u.chunk].clock.Visit(s.now)
		ended := 0
		s.sessions.slice(u.chunk, 1, func(i uint32, ss *session) {
			if ss.state == StateEstablished && s.meterSession(i, ss, ended < endsPerTurn) {
				ended++
			}
		})
	}
	u.chunk++
	u.chunkAt = s.now + max(sweepEvery/time.Duration(max(len(s.sessions.chunks), 1)), sweepGap)
}

// meterSession measures one session. It reports whether it has ended it, which it does only
// if mayEnd.
func (s *Shard) meterSession(i uint32, ss *session, mayEnd bool) (ended bool) {
	s.refresh(i, ss)
	u := &s.usage
	a := u.account(i)
	bits := a.meter.Visit(&u.accounts[i>>chunkBits].clock, meteredBytes(ss))
	u.sources.At(a.source).Bitrate.Add(u.sweep, bits)
	u.sources.At(a.subnet).Bitrate.Add(u.sweep, bits)
	if !ss.publisher {
		return false
	}
	st := u.streams.At(a.stream)
	st.Bitrate.Max(u.sweep, bits)
	most := uint64(s.limitsOfStream(st, s.sessions.cold(i).key).Bitrate)
	if most == 0 || bits <= most {
		a.overSince = 0
		return false
	}
	return s.overLimit(i, ss, a, bits, most, mayEnd)
}

// overLimit handles a publisher that is above its bitrate: it is reported, and ended after a
// grace. Dropping its datagrams would only make it send them again.
func (s *Shard) overLimit(i uint32, ss *session, a *account, bits, most uint64, mayEnd bool) (ended bool) {
	if a.overSince == 0 {
		a.overSince = s.now
		s.counters.inc(CountStreamsOverLimit)
		if a.reportedAt == 0 || s.now-a.reportedAt >= limit.WindowLength {
			a.reportedAt = s.now
			e := s.sessionEvent(EventStreamOverLimit, i, ss)
			e.Bitrate, e.MaxBitrate = bits, most
			s.emit(e)
		}
	}
	if s.now-a.overSince < s.limits.LimitGrace || !mayEnd {
		return false
	}
	key, until := s.sessions.cold(i).key, s.now+s.limits.LimitBlock
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
