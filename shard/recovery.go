package shard

import (
	"fmt"
	"runtime/debug"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
	"srtrelay/udp"
)

// The start after a crash (docs/adr/0026-crash.md): the sessions of a process that has died go
// on in this one, which has its sockets. Unlike the snapshot of a take-over the records say
// nothing of what has happened since they were written, and some may not fit.

// Recovery is what a process that died has left.
type Recovery struct {
	// Records are the records of the sessions of each shard, by UseCheckpoint.
	Records [][][]byte
	// InKernel reports whether the kernel has relayed a session meanwhile. Nil: none.
	InKernel func(shard int, place, gen uint32) bool
	// KeepOthers says that sessions which the kernel has not relayed go on too: their peers
	// have not given up yet.
	KeepOthers bool
}

// Recovered is what became of the sessions.
type Recovered struct {
	Kept   int // go on
	Ended  int // get a SHUTDOWN when the loops run
	Unfit  int // cannot go on: this process has not their sockets, or no place for them
	places map[sessionPlace]uint32
}

type sessionPlace struct {
	shard int
	place uint32
}

// InKernel reports whether a session of a generation goes on in the kernel path.
func (r *Recovered) InKernel(shard int, place, gen uint32) bool {
	return gen != 0 && r.places[sessionPlace{shard, place}] == gen
}

// InKernelCount is how many go on in the kernel path.
func (r *Recovered) InKernelCount() int { return len(r.places) }

// Recover has the sessions of a process that died go on. The group must have taken over the
// sockets of that process (Config.Adopt), with its origin, and must not have been started.
// After an error the group can only be closed.
func (g *Group) Recover(from Recovery) (done Recovered, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	now, err := udp.Monotonic()
	if err != nil {
		return done, err
	}
	done.places = make(map[sessionPlace]uint32)
	for k, records := range from.Records[:min(len(from.Records), len(g.shards))] {
		s := g.shards[k]
		r := recoverer{
			restorer: restorer{Shard: s, clock: s.clock(), rates: make(rates)},
			from:     &from, byPeer: make(map[recoveredPeer]uint32), done: &done,
		}
		r.recoverKernel = r.kernelState
		r.begin(now-g.originAt, len(records))
		for _, record := range records {
			if r.record(record) != nil {
				done.Unfit++
			}
		}
		if err := r.end(); err != nil {
			return done, fmt.Errorf("shard %d: %w", k, err)
		}
	}
	g.restored.Store(true)
	return done, nil
}

// recoverer restores the sessions of one shard.
type recoverer struct {
	restorer
	from   *Recovery
	byPeer map[recoveredPeer]uint32
	placed []sessionRef
	done   *Recovered
}

// recoveredPeer tells the peers of records.
type recoveredPeer struct {
	id backend.ID
	at addr.AddrPort
}

// begin does what the head and the sockets of a snapshot do.
func (r *recoverer) begin(now time.Duration, sessions int) {
	s := r.Shard
	s.size(sessions)
	r.keys = make([]slot, 0, 3*sessions)
	s.now = now
	s.stalls.lastTurn, s.stalls.due, s.wheel.tick = now, now, int64(now/wheelTick)
	s.peers.ratesAt = now
	r.places = uint64(s.cfg.Places())
	for k := range s.fronts {
		if s.fronts[k].closed || !s.fronts[k].adopted {
			k = -1
		}
		r.fronts = append(r.fronts, k)
	}
	r.upstreams = len(s.backs)
}

// record restores the session of one record. After an error it is as if there was none.
func (r *recoverer) record(b []byte) error {
	var peer recoveredPeer
	var session []byte
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case checkpointPeerID:
			peer.id = backend.ID(m.String())
		case checkpointPeerAddress:
			peer.at = readAddress(&m)
		case snapshotSession:
			session = m.Bytes()
		}
	}
	if err := m.Err(); err != nil {
		return err
	}
	number, err := r.peerOf(peer)
	if err != nil {
		return err
	}
	// Of two fields the last one counts.
	session = message.AppendUint(session[:len(session):len(session)], sessionPeer, number)
	if err := r.session(session); err != nil {
		return err
	}
	r.placed = append(r.placed, r.latest)
	return nil
}

// peerOf returns the number of a session's peer.
func (r *recoverer) peerOf(one recoveredPeer) (uint32, error) {
	if n := r.byPeer[one]; n != 0 {
		return n, nil
	}
	all := &r.Shard.peers
	p := all.byAddr[one.at]
	switch {
	case !one.at.IsValid() || one.id == "" || p == nil && !all.hasRoom(one.at):
		return 0, message.ErrDamaged
	case p == nil: // else several IDs have had the address, and the sessions are of one peer
		p = &peer{id: one.id, addr: one.at}
		all.add(p)
	}
	r.peers = append(r.peers, p)
	n := uint32(len(r.peers))
	r.byPeer[one] = n
	return n, nil
}

// end does what needs all sessions.
func (r *recoverer) end() error {
	s := r.Shard
	for at, p := range s.peers.byAddr {
		if p.sessions == 0 {
			s.peers.slots[p.slot] = nil
			delete(s.peers.byAddr, at)
		}
	}
	if err := r.complete(); err != nil {
		return err
	}
	var ended []sessionRef
	for _, ref := range r.placed {
		ss := s.sessions.at(ref.index)
		s.sessions.gen = max(s.sessions.gen, ref.gen)
		s.refreshRecovered(ref, ss)
		switch {
		case ss.inKernel:
			r.done.places[sessionPlace{s.id, ref.index}] = ref.gen
			r.done.Kept++
		case r.from.KeepOthers:
			r.done.Kept++
		default:
			r.done.Ended++
			ended = append(ended, ref)
		}
	}
	if len(ended) > 0 {
		s.inbox.postAlways(func(s *Shard) { s.endCrashed(ended) })
	}
	s.drainFirst = true // what waits in the sockets
	return nil
}

// refreshRecovered has the time of a session go on from now: what its record says was when
// that was written.
func (s *Shard) refreshRecovered(ref sessionRef, ss *session) {
	ss.callerSeen, ss.backendSeen, ss.unansweredSince = s.now, s.now, 0
	s.usage.account(ref.index).meter.Begin(meteredBytes(ss))
	// Not all in one turn.
	s.wheel.Set(ref.index, s.now+time.Second+time.Duration(ref.index%1000)*time.Millisecond)
	if !ss.inKernel {
		s.meters.Skip(&ss.meter)
	}
}

// endCrashed ends sessions that have not survived a crash, in slices.
func (s *Shard) endCrashed(refs []sessionRef) {
	n := min(len(refs), endsPerTurn)
	for _, ref := range refs[:n] {
		if ss := s.sessions.find(ref.index, ref.gen); ss != nil && ss.state == StateEstablished {
			s.endSession(ref.index, ss, CauseCrash)
		}
	}
	if left := refs[n:]; len(left) > 0 {
		s.inbox.postAlways(func(s *Shard) { s.endCrashed(left) })
	}
}

// kernelState has a session go on in the kernel path, if the kernel has relayed it until now.
// What has passed since the record was written is in its sums, and in no counter.
func (r *recoverer) kernelState(i uint32, ss *session, state []byte) error {
	s := r.Shard
	if r.from.InKernel == nil || !r.from.InKernel(s.id, i, ss.gen) || ss.state != StateEstablished {
		return nil
	}
	if s.restoreKernelState(i, ss, state) != nil || !ss.inKernel {
		ss.inKernel = false
		return nil
	}
	st := s.kernel.state(i)
	flows := [2]*Flow{telemetry.ToBackend: &ss.toBackend, telemetry.ToCaller: &ss.toCaller}
	for way := range telemetry.Way(2) {
		w, one := s.kernel.path.Way(i, int(way)), &st.ways[way]
		now := w.Passed()
		flows[way].Packets += uint64(now.Packets - one.taken.Packets)
		flows[way].Bytes += now.Bytes - one.taken.Bytes
		one.taken = now
		next, bytes, last, exceptions := w.Data()
		// Until there are no records that the process before would have read.
		for range recordsTries {
			s.readAllRecords()
			before := exceptions
			if next, bytes, last, exceptions = w.Data(); exceptions == before {
				break
			}
		}
		one.data, one.exceptions = bytes, exceptions
		if s.cfg.Telemetry {
			s.meters.BeginAt(&ss.meter, way, next, last)
		}
	}
	st.refreshed = s.now
	return nil
}

// recordsTries bounds how often the records are read until none has come meanwhile. If it was
// too few, the telemetry of a session stands still.
const recordsTries = 100

// RenewLeases gives recovered sessions the leases that renew returns, which may be those that
// they have. It returns how many are others. It must be called after Recover and before Start.
func (g *Group) RenewLeases(renew func(q backend.Query, p backend.Backend, l backend.Lease) backend.Lease) (renewed int) {
	for _, s := range g.shards {
		s.sessions.each(func(i uint32, ss *session) {
			cold := s.sessions.cold(i)
			if ss.state != StateEstablished || cold.peer == nil {
				return
			}
			l := renew(backend.Query{
				Key: cold.key(), Group: ss.group, StreamID: cold.streamID(), Publish: ss.publisher, Caller: ss.caller.Netip(),
			}, backend.Backend{ID: cold.peer.id, Addr: cold.peer.addr.Netip()}, ss.lease)
			if l != ss.lease {
				ss.lease = l
				s.writeCheckpoint(i, ss)
				renewed++
			}
		})
	}
	return renewed
}
