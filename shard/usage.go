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
)

// usage counts what sources and streams have of the shard, by session: each has an account
// from its handshake on until it is freed. It belongs to the loop; sums are the group's.
type usage struct {
	shard    int
	sums     *limit.Sums
	sources  *limit.Table[limit.Prefix, limit.Source]
	streams  *limit.Table[string, limit.Stream]
	accounts []accountChunk
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

// accountChunk has the accounts of a chunk of sessions. They are allocated by themselves: with
// anything beside them the allocation would be rounded up by a quarter.
type accountChunk struct {
	clock limit.Clock
	epoch uint32 // of the limits by which its sessions are counted at streams
	of    *[chunkSize]account
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
		u.accounts = append(u.accounts, accountChunk{of: new([chunkSize]account)})
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
	key := s.sessions.cold(i).key()
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
		case !ss.state.alive() || counted == s.hasLimits(s.sessions.cold(i).key()):
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
