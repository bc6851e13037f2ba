package shard

import (
	"context"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
)

// The shard's side of the kernel path (ADR 21). An established session enters it and
// leaves it with leaveKernel, and what passes there is added to the session, to the
// counters and to the telemetry by refresh.

const (
	// routesPerTurn limits the sessions whose routes a turn resolves again: some 2 ms.
	routesPerTurn = 128
	// recordsPerTurn limits the records that a turn reads: some 0.2 ms.
	recordsPerTurn = 4096
	// The time between two reads of the records adapts to their number.
	recordsSoon, recordsSeldom = 2 * time.Millisecond, 100 * time.Millisecond
	// recordsFew and recordsMany are which part of a ring's space the records of a read take
	// that make the next one later or sooner: one in so many.
	recordsFew, recordsMany = 8, 4
)

// kernel is what a shard keeps for the sessions in the kernel path. It belongs to the
// loop.
type kernel struct {
	path     *kernelpath.Shard // nil without the kernel path
	reclaims uint32            // of the path, that the shard has followed
	sessions int
	chunks   []*[chunkSize]kernelState
	pending  []kernelRef // ways of which datagrams have gone up
	pins     bool        // there has been a session whose source is pinned

	readAt   time.Duration // when the records are read next
	readWait time.Duration // the time between reads
	warnedAt time.Duration // when a session that cannot enter was last logged
}

// kernelRef names one way of a session.
type kernelRef struct {
	index uint32
	gen   uint32
	way   telemetry.Way
	since time.Duration // when its handover began
}

// kernelState is what a session in the kernel path needs beside its own fields.
type kernelState struct {
	ways      [2]kernelWay // by telemetry.Way
	source    addr.IP      // the relay's address towards the backend
	refreshed time.Duration
}

// kernelWay is what is known of one way of a session.
type kernelWay struct {
	taken      kernelpath.Passed // what has been added up
	data       uint64            // ... of the payloads of data packets
	exceptions uint32            // records of data packets that have been read
	next       uint32            // what the meter was last told of
	handover   kernelpath.Handover
	waiting    bool          // the shard has relayed datagrams since it was last offered
	queued     bool          // it is in kernel.pending
	pinned     bool          // of the way to the backend: the host would use another source by now
	unseen     time.Duration // when a datagram first came that the program had not seen, 0 for never
}

func (k *kernel) state(i uint32) *kernelState {
	for int(i>>chunkBits) >= len(k.chunks) {
		k.chunks = append(k.chunks, new([chunkSize]kernelState))
	}
	return &k.chunks[i>>chunkBits][i&chunkMask]
}

// enterKernel has the kernel relay an established session. fresh says that it has just become
// one, and has no record in the checkpoint yet. A session that cannot enter stays in user
// space.
func (s *Shard) enterKernel(i uint32, ss *session, fresh bool) {
	k := &s.kernel
	if k.path == nil || ss.inKernel || ss.captures != 0 {
		return
	}
	if int(i) >= k.path.Places() {
		s.notEntered(kernelpath.ErrFull)
		return
	}
	st, before := k.state(i), kernelState{}
	if k.path.Way(i, 0).Gen() == ss.gen {
		before = *st // it has been in the path
	}
	*st = kernelState{refreshed: s.now, source: before.source}
	st.ways[telemetry.ToBackend].pinned = before.ways[telemetry.ToBackend].pinned
	k.path.Reset(i, ss.gen)
	for way := range telemetry.Way(2) {
		s.setSequence(i, ss, way)
		st.ways[way].handover.Begin(k.path.Way(i, int(way)))
	}
	entry := s.kernelEntry(i, ss)
	if err := k.path.Enter(&entry); err != nil {
		s.notEntered(err)
		return
	}
	k.pin(st, &entry)
	ss.inKernel = true
	k.sessions++
	if !fresh { // else establish does
		s.writeCheckpoint(i, ss)
	}
}

// kernelEntry returns what the program knows of a session, or is to know.
func (s *Shard) kernelEntry(i uint32, ss *session) kernelpath.Session {
	e := kernelpath.Session{
		Place: i, Gen: ss.gen,
		Caller: ss.caller, Front: localEnd(&s.fronts[ss.front]),
		Upstream: addr.AddrPort{IP: s.kernel.state(i).source, Port: s.backs[ss.upstream].sock.Local().Port()}, Backend: ss.backend,
		CallerID: ss.callerID, BackendID: ss.backendID,
	}
	if ss.local != (addr.IP{}) {
		e.Front.IP = ss.local
	}
	return e
}

// pin notes the relay's address towards the backend of a session.
func (k *kernel) pin(st *kernelState, e *kernelpath.Session) {
	st.source, st.ways[telemetry.ToBackend].pinned = e.Upstream.IP, e.Pinned
	k.pins = k.pins || e.Pinned
}

// pinnedSource returns the source that a datagram to a session's backend must bear; zero if it is
// the one that the host uses.
func (s *Shard) pinnedSource(i uint32, ss *session) addr.IP {
	k := &s.kernel
	if !k.pins || int(i) >= k.path.Places() || k.path.Way(i, 0).Gen() != ss.gen {
		return addr.IP{}
	}
	if st := k.state(i); st.ways[telemetry.ToBackend].pinned {
		return st.source
	}
	return addr.IP{}
}

// notEntered counts a session that stays in user space, and logs why at most once a
// minute.
func (s *Shard) notEntered(err error) {
	s.counters.inc(CountKernelNotEntered)
	if k := &s.kernel; k.warnedAt == 0 || s.now-k.warnedAt >= time.Minute {
		k.warnedAt = s.now
		s.background(func() {
			s.cfg.Log.Warn("kernel path: a session stays in user space", "shard", s.id, "error", err)
		})
	}
}

// leaveKernel has user space relay a session again, from its next datagram on.
func (s *Shard) leaveKernel(i uint32, ss *session) {
	if !ss.inKernel {
		return
	}
	entry := s.kernelEntry(i, ss)
	s.kernel.path.Leave(&entry)
	s.readAllRecords() // later ones would count for the session when it has entered again
	s.refresh(i, ss)
	ss.inKernel = false
	s.kernel.sessions--
}

// kernelTurn reads the records when that is due. meterSessions and samples refresh the sessions.
func (s *Shard) kernelTurn() {
	s.resumeKernel()
	k := &s.kernel
	if k.sessions == 0 {
		return
	}
	// A turn that something else began comes cheaper than one for the records alone.
	if s.cfg.Telemetry && s.now >= k.readAt-k.readWait/2 {
		k.readNext(s.now, s.readRecords())
	}
}

// kernelDue returns when kernelTurn has something to do though nothing arrives.
func (s *Shard) kernelDue() (time.Duration, bool) {
	k := &s.kernel
	if k.sessions == 0 {
		return 0, false
	}
	return k.readAt, s.cfg.Telemetry
}

// Reroute has every shard resolve the routes of its sessions in the kernel path again,
// and try again to enter those that could not. It returns when all have.
func (g *Group) Reroute(ctx context.Context) error {
	for _, s := range g.shards {
		for next, again := uint64(0), true; again; again = next != 0 {
			if err := s.inbox.do(ctx, func(s *Shard) { next = s.rerouteSlice(next) }); err != nil {
				return err
			}
		}
	}
	return nil
}

// reroute resolves the routes of a session in the kernel path again.
func (s *Shard) reroute(i uint32, ss *session) {
	st, entry := s.kernel.state(i), s.kernelEntry(i, ss)
	err := s.kernel.path.Update(&entry)
	if err != nil {
		s.leaveKernel(i, ss)
		s.notEntered(err)
		return
	}
	moved := entry.Upstream.IP != st.source
	s.kernel.pin(st, &entry)
	if moved {
		s.writeCheckpoint(i, ss)
	}
}

// rerouteSlice handles the sessions of some places and returns the next one, 0 at the end.
func (s *Shard) rerouteSlice(from uint64) uint64 {
	end := min(from+routesPerTurn, s.sessions.places())
	for i := uint32(from); uint64(i) < end; i++ {
		switch ss := s.sessions.at(i); {
		case ss.state != StateEstablished:
		case !ss.inKernel:
			s.enterKernel(i, ss, false)
		default:
			s.reroute(i, ss)
		}
	}
	if end < s.sessions.places() {
		return end
	}
	return 0
}
