package shard

import (
	"time"

	"srtrelay/addr"
	"srtrelay/shard/limit"
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
	sweepEvery = time.Second
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
	// over has the publishers above the bitrate of their stream, or so lately that it would
	// be reported anew, by session.
	over map[uint32]overBitrate

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
	epoch uint32 // of the limits by which its sessions are counted at streams
	of    [chunkSize]account
}

// account is what a session is counted at.
type account struct {
	source, subnet limit.Ref // held; 0 in one that is not in use
	// stream is held while the session is one of the players or publishers of a stream with
	// limits; 0 otherwise.
	stream limit.Ref
	meter  limit.Meter
}

// overBitrate is what is known of a publisher above its bitrate.
type overBitrate struct {
	since      time.Duration // 0 if it is below again
	reportedAt time.Duration
}

func newUsage(shard int, sums *limit.Sums) usage {
	return usage{
		shard: shard, sums: sums, sweep: 1, epoch: 1,
		sources: limit.NewTable[limit.Prefix, limit.Source](idleSources),
		streams: limit.NewTable[string, limit.Stream](idleStreams),
		over:    make(map[uint32]overBitrate),
	}
}

func (u *usage) account(i uint32) *account {
	for int(i>>chunkBits) >= len(u.accounts) {
		u.accounts = append(u.accounts, new(accountChunk))
	}
	return &u.accounts[i>>chunkBits].of[i&chunkMask]
}

// open begins the account of session i, as a handshake.
func (u *usage) open(i uint32, ip addr.IP) {
	a := u.account(i)
	*a = account{}
	u.holdSource(a, ip, false)
}

func (u *usage) holdSource(a *account, ip addr.IP, session bool) {
	a.source, _ = u.sources.Hold(limit.PrefixOf(ip, limit.LevelSource))
	a.subnet, _ = u.sources.Hold(limit.PrefixOf(ip, limit.LevelSubnet))
	u.countSource(a, session, 1)
}

// countSource adds to the handshakes or the sessions of an account's source and subnet.
func (u *usage) countSource(a *account, session bool, by int32) {
	for _, r := range [...]limit.Ref{a.source, a.subnet} {
		if s := u.sources.At(r); session {
			s.Sessions += by
		} else {
			s.Handshakes += by
		}
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
	u.countSource(a, false, -1)
	u.countSource(a, true, 1)
}

// joinStream counts a session at its stream, if that has limits.
func (s *Shard) joinStream(i uint32, ss *session) {
	key := s.sessions.cold(i).key
	if !s.hasLimits(key) {
		return
	}
	r, st := s.usage.streams.Hold(key)
	s.usage.account(i).stream = r
	st.Count(ss.publisher, 1)
}

// leaveStream notes that a session has ended or was rejected, or that its stream has no limits
// any more. Its source has it until it is freed.
func (u *usage) leaveStream(i uint32, ss *session) {
	a := u.account(i)
	if a.stream == 0 {
		return
	}
	st := u.streams.At(a.stream)
	st.Count(ss.publisher, -1)
	u.streams.Release(a.stream)
	if st.BlockedUntil == 0 {
		u.streams.Forget(a.stream)
	}
	a.stream = 0
	delete(u.over, i)
}

// rejoinStreams counts the sessions of a chunk at those streams that have limits now.
func (s *Shard) rejoinStreams(chunk int) {
	s.sessions.slice(chunk, 1, func(i uint32, ss *session) {
		switch counted := s.usage.account(i).stream != 0; {
		case !ss.state.alive() || counted == s.hasLimits(s.sessions.cold(i).key):
		case counted:
			s.usage.leaveStream(i, ss)
		default:
			s.joinStream(i, ss)
		}
	})
}

// free ends the account of a session, which has left its stream.
func (u *usage) free(i uint32, ss *session) {
	a := u.account(i)
	u.releaseSource(a, ss.state == StateClosing)
	*a = account{}
}

func (u *usage) releaseSource(a *account, session bool) {
	u.countSource(a, session, -1)
	for _, r := range [...]limit.Ref{a.source, a.subnet} {
		if s := u.sources.At(r); s.Sessions+s.Handshakes == 0 {
			s.Bitrate = limit.Rate{} // no sweep adds to it any more
		}
		u.sources.Release(r)
	}
}

// moved counts an established session at the address that its caller has now.
func (u *usage) moved(i uint32, ip addr.IP) {
	a := u.account(i)
	u.releaseSource(a, true)
	u.holdSource(a, ip, true)
}

// restoreAccount begins the account of a session of another process.
func (s *Shard) restoreAccount(i uint32, ss *session) {
	u := &s.usage
	u.open(i, ss.caller.IP)
	u.account(i).meter.Begin(meteredBytes(ss))
	if ss.state == StateEstablished || ss.state == StateClosing {
		u.establish(i)
	}
	if ss.state.alive() {
		s.joinStream(i, ss)
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
		c := u.accounts[u.chunk]
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
	if !ss.publisher || a.stream == 0 {
		return false
	}
	st := u.streams.At(a.stream)
	st.Bitrate.Max(u.sweep, bits)
	most := uint64(s.limitsOfStream(st, s.sessions.cold(i).key).Bitrate)
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
