package shard

import (
	"context"
	"errors"
	"time"

	"srtrelay/addr"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/kernelpath"
	"srtrelay/wire"
)

// The shard's side of the kernel path (ADR 21). An established session enters it and
// leaves it with leaveKernel, and what passes there is added to the session, to the
// counters and to the telemetry by refresh.

const (
	// handoverPatience is how long a way may be pending while datagrams come. After that
	// one has been lost between the program and the shard, and the handover begins anew.
	handoverPatience = time.Second
	// routesPerTurn limits the sessions whose routes a turn resolves again: some 2 ms.
	routesPerTurn = 128
	// recordsPerTurn limits the records that a turn reads: some 0.2 ms.
	recordsPerTurn = 4096
	// The time between two reads of the records adapts to their number.
	recordsSoon, recordsSeldom = 2 * time.Millisecond, 100 * time.Millisecond
	// recordsFew and recordsMany are how many records of a read make the next one later
	// or sooner. A ring of 256 KiB has space for 2,900.
	recordsFew, recordsMany = 256, 1024
)

// errPassedBy says that data packets have come that the program has not seen. They could be
// overtaken by those that it sees.
var errPassedBy = errors.New("its datagrams come in fragments, or by a device that the program is not attached to")

// kernel is what a shard keeps for the sessions in the kernel path. It belongs to the
// loop.
type kernel struct {
	path     *kernelpath.Shard // nil without the kernel path
	reclaims uint32            // of the path, that the shard has followed
	sessions int
	chunks   []*[chunkSize]kernelState
	pending  []kernelRef // ways of which datagrams have gone up

	readAt   time.Duration // when the records are read next
	readWait time.Duration // the time between reads
	warnedAt time.Duration // when a session that cannot enter was last logged
}

// kernelRef names one way of a session.
type kernelRef struct {
	index uint32
	gen   uint32
	way   telemetry.Way
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
	waiting    bool          // it is in kernel.pending
	since      time.Duration // since when
}

func (k *kernel) state(i uint32) *kernelState {
	for int(i>>chunkBits) >= len(k.chunks) {
		k.chunks = append(k.chunks, new([chunkSize]kernelState))
	}
	return &k.chunks[i>>chunkBits][i&chunkMask]
}

// enterKernel has the kernel relay an established session. fresh says that the caller has
// no answer yet, so that none of its datagrams can be under way. A session that cannot
// enter stays in user space.
func (s *Shard) enterKernel(i uint32, ss *session, fresh bool) {
	k := &s.kernel
	if k.path == nil || ss.inKernel || ss.captures != 0 {
		return
	}
	if int(i) >= k.path.Places() {
		s.notEntered(kernelpath.ErrFull)
		return
	}
	st := k.state(i)
	*st = kernelState{refreshed: s.now}
	k.path.Reset(i, ss.gen)
	for way := range telemetry.Way(2) {
		s.setSequence(i, ss, way)
	}
	entry := s.kernelEntry(i, ss)
	if err := k.path.Enter(&entry, fresh); err != nil {
		s.notEntered(err)
		return
	}
	st.source = entry.Upstream.IP
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

// setSequence tells the program how far the data packets of a way have come. The way must
// not be on.
func (s *Shard) setSequence(i uint32, ss *session, way telemetry.Way) {
	s.kernel.path.Way(i, int(way)).SetSequence(s.meters.Sequence(&ss.meter, way), s.cfg.Telemetry)
}

// relayedUp handles a datagram of a session in the kernel path that has come up and is
// about to be relayed. It must be called before the telemetry sees the datagram.
func (s *Shard) relayedUp(i uint32, ss *session, way telemetry.Way, p wire.Packet) {
	w := s.kernel.path.Way(i, int(way))
	if w.Mode() == kernelpath.On {
		// A SHUTDOWN or the like goes up by itself.
		if !p.IsControl() {
			s.leaveKernel(i, ss)
			s.notEntered(errPassedBy)
		}
		return
	}
	one := &s.kernel.state(i).ways[way]
	if one.handover.Fresh(w) {
		s.readRecords()
		s.takeData(ss, one, w, way)
	}
	one.handover.Sent(w, p)
	if !one.waiting {
		one.waiting, one.since = true, s.now
		s.kernel.pending = append(s.kernel.pending, kernelRef{i, ss.gen, way})
	}
}

// offerPending offers to the program the ways of which nothing is under way. The outboxes
// must have been flushed.
func (s *Shard) offerPending() {
	k := &s.kernel
	left := k.pending[:0]
	for _, ref := range k.pending {
		ss := s.sessions.at(ref.index)
		if ss.gen != ref.gen || !ss.inKernel {
			continue
		}
		w, one := k.path.Way(ref.index, int(ref.way)), &k.state(ref.index).ways[ref.way]
		switch {
		case one.handover.Complete(w):
			s.setSequence(ref.index, ss, ref.way)
			one.handover.Offer(w)
			s.counters.inc(CountKernelHandovers)
			one.waiting = false
			continue
		case s.now-one.since >= handoverPatience:
			one.handover.Restart(w)
			one.since = s.now
		}
		left = append(left, ref)
	}
	k.pending = left
}

// kernelTurn reads the records when that is due. meterSessions refreshes the sessions.
func (s *Shard) kernelTurn() {
	s.resumeKernel()
	k := &s.kernel
	if k.sessions == 0 {
		return
	}
	if s.cfg.Telemetry && s.now >= k.readAt {
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
	moved := entry.Upstream.IP != st.source
	st.source = entry.Upstream.IP
	if err != nil {
		s.leaveKernel(i, ss)
		s.notEntered(err)
	} else if moved {
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
