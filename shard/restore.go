package shard

import (
	"errors"
	"fmt"
	"slices"

	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
)

// restoredGrowth is how many times the places that its configuration allows a shard has
// after a restore at most, for one whose cap has been lowered. It bounds the memory.
const restoredGrowth = 16

// restore goes on as the shard that has appended a snapshot in another process. The
// sockets must be open and the loop must not have begun. After an error the shard has no
// sessions, and must not be used.
//
// Sessions whose backend was being chosen have it chosen again when the loop runs: see
// askAgain.
func (s *Shard) restore(b []byte) error {
	if s.sessions.live > 0 {
		return errors.New("it has sessions already")
	}
	r := restorer{Shard: s, clock: s.clock(), rates: make(rates)}
	if err := r.read(b); err != nil {
		r.forget()
		return err
	}
	return nil
}

// restorer reads a snapshot into a shard.
type restorer struct {
	*Shard
	clock     message.Clock
	version   uint32
	hasHead   bool
	places    uint64
	fronts    []int // the index of each listener in this process, -1 for none
	upstreams int
	peers     []*peer // by number, from 1
	counts    [NumCounters]uint64
	rates     rates
	kernels   []kernelPart
	keys      []slot     // of the sessions
	latest    sessionRef // the last one that was placed
	// recoverKernel has a session go on in the kernel path in place of restoreKernelState.
	recoverKernel func(i uint32, ss *session, state []byte) error
}

// kernelPart is what the snapshot says of a session in the kernel path.
type kernelPart struct {
	index uint32
	state []byte
}

func (r *restorer) read(b []byte) error {
	messages, sessions, err := message.Unseal(b)
	if err != nil {
		return err
	}
	// So many take at least so many bytes: a wrong number cannot cost memory.
	const shortest = 16
	n := min(int(sessions), len(messages)/shortest)
	r.size(n)
	r.keys = make([]slot, 0, 3*n)
	m := message.Read(messages)
	for m.Next() {
		m.Fail(r.field(&m))
	}
	switch err := m.Err(); {
	case err != nil:
		return err
	case !r.hasHead:
		return fmt.Errorf("%w: no head", message.ErrDamaged)
	case r.Shard.sessions.live != int(sessions):
		return fmt.Errorf("%w: %d sessions of %d", message.ErrDamaged, r.Shard.sessions.live, sessions)
	}
	return r.complete()
}

func (r *restorer) field(m *message.Reader) error {
	switch n := m.Number(); {
	case n == snapshotVersion:
		r.version = message.Uint[uint32](m)
		if r.version < oldestSnapshot || r.version > SnapshotVersion {
			return fmt.Errorf("a snapshot of version %d; this program reads %d to %d", r.version, oldestSnapshot, SnapshotVersion)
		}
		return nil
	case r.version == 0:
		return errors.New("no version")
	case n == snapshotHead:
		return r.head(m.Bytes())
	case !r.hasHead:
		return errors.New("before the head")
	}
	switch m.Number() {
	case snapshotFront:
		return r.front(m.Bytes())
	case snapshotUpstream:
		return r.upstream(m.Bytes())
	case snapshotStall:
		return r.stall(m.Bytes())
	case snapshotCounter:
		return r.counter(m.Bytes())
	case snapshotRate:
		return r.rate(m.Bytes())
	case snapshotPeer:
		return r.peer(m.Bytes())
	case snapshotSession:
		return r.session(m.Bytes())
	case snapshotOrphan:
		return r.orphan(m.Bytes())
	case snapshotOutcome:
		return r.outcome(m.Bytes())
	case snapshotBlock:
		return r.usage.restoreBlock(m.Bytes(), r.clock)
	}
	return nil
}

func (r *restorer) head(b []byte) error {
	r.hasHead = true
	shard := uint64(0)
	m := message.Read(b)
	for m.Next() {
		switch m.Number() {
		case headShard:
			shard = message.Uint[uint64](&m)
		case headTaken:
			r.now = m.Time(r.clock)
		case headGeneration:
			r.Shard.sessions.gen = message.Uint[uint32](&m)
		case headPlaces:
			r.places = message.Uint[uint64](&m)
		case headStalled:
			r.stalls.total = m.Duration()
		case headRated:
			r.Shard.peers.ratesAt = m.Time(r.clock)
		case headCookies:
			cookies, err := handshake.RestoreCookies(m.Bytes(), r.clock)
			m.Fail(err)
			if err == nil {
				cookies.Follow(r.cfg.SharedSecrets)
			}
			r.admission.cookies = cookies
		}
	}
	limit := min(restoredGrowth*uint64(r.cfg.Places()), indexLimit)
	switch {
	case m.Err() != nil:
	case shard != uint64(r.id):
		return fmt.Errorf("the snapshot of shard %d", shard)
	case r.places > limit:
		return fmt.Errorf("sessions up to place %d, the cap of sessions allows up to %d", r.places, limit)
	}
	// A snapshot is taken as a turn ends.
	r.stalls.lastTurn, r.stalls.due = r.now, r.now
	r.wheel.tick = int64(r.now / wheelTick)
	return m.Err()
}

// complete does what needs all sessions.
func (r *restorer) complete() error {
	s := r.Shard
	for _, p := range s.peers.byAddr {
		if p.sessions == 0 {
			return fmt.Errorf("%w: %v has no sessions", message.ErrDamaged, p.addr)
		}
	}
	for _, p := range s.peers.ending {
		p.nextToEnd = p.firstSession
	}
	s.sessions.table.insertAll(r.keys)
	s.sessions.each(func(i uint32, ss *session) {
		if ss.state == StateEstablished {
			s.own(i, ss)
		}
	})
	s.sessions.collectFree()
	for k, n := range r.counts {
		s.counters.add(Counter(k), n)
	}
	s.peers.rates.Store(&r.rates)
	s.gather.turn, s.gather.received = s.now, s.counters.received()
	s.sizing.reviewed = s.now
	s.admission.budget = budget{
		at: s.now, judged: s.now, cleared: s.now,
		bytes: s.counters.forwardedBytes(), opened: s.counters.local[CountHandshakes],
	}
	for k := range s.backs {
		s.backs[k].hasErrors = true // there may be some since
	}
	restore := s.restoreKernelState
	if r.recoverKernel != nil {
		restore = r.recoverKernel
	}
	for _, part := range r.kernels {
		if err := restore(part.index, s.sessions.at(part.index), part.state); err != nil {
			return err
		}
	}
	s.writeRecords()
	s.updateGauges()
	s.counters.publish()
	return nil
}

// collectFree makes the list of free places: the first ones are used first.
func (s *sessions) collectFree() {
	s.free = make([]uint32, 0, s.places()-uint64(s.live))
	for i := uint32(s.places()); i > 0; i-- {
		if s.at(i-1).state == StateFree {
			s.free = append(s.free, i-1)
		}
	}
}

// forget makes a shard empty whose restore has failed: nothing of it may end the
// sessions, which go on in the other process.
func (r *restorer) forget() {
	s := r.Shard
	s.sessions.each(s.disown)
	s.sessions = sessions{table: newTable(), seed: s.sessions.seed}
	s.meters, s.wheel, s.orphans = telemetry.Slab{}, timerWheel{}, orphans{}
	clear(s.pendingInductions)
	clear(s.peers.byAddr)
	s.peers.slots, s.peers.suspects, s.peers.ending = nil, nil, nil
	s.admission = newAdmission(s.cfg, s.sessions.seed)
	s.usage = newUsage(s.id, s.usage.sums)
	s.outcomes.unreported, s.unasked = nil, nil
}

// sessionRef names one use of a session's place.
type sessionRef struct{ index, gen uint32 }

// askAgain asks the resolver for the backends of restored sessions, whose answers went to
// the other process.
func (s *Shard) askAgain() {
	n := 0
	for n < len(s.unasked) && s.ask(s.unasked[n]) {
		n++
	}
	s.unasked = slices.Delete(s.unasked, 0, n)
}

// ask asks for one session, if it still waits; false if the resolver is busy.
func (s *Shard) ask(ref sessionRef) bool {
	i, gen := ref.index, ref.gen
	ss := s.sessions.find(i, gen)
	switch {
	case ss == nil:
		return true
	case ss.state == StateResolving:
		return s.cfg.Resolver.Resolve(s.query(i, ss), func(t backend.Target, err error) bool {
			return s.inbox.post(func(s *Shard) { s.onResolved(i, gen, t, err) })
		})
	case ss.state == StateConnecting && s.sessions.cold(i).pending.attempt.awaiting:
		return s.cfg.Resolver.Resolve(s.query(i, ss), func(t backend.Target, err error) bool {
			return s.inbox.post(func(s *Shard) { s.onOtherBackend(i, gen, t, err) })
		})
	}
	return true
}

// query asks for a backend for a session that has none, or for another one than it has
// tried.
func (s *Shard) query(i uint32, ss *session) backend.Query {
	cold := s.sessions.cold(i)
	return backend.Query{
		Key: cold.key(), ProxyKey: cold.pending.proxyKey, Group: ss.group, StreamID: cold.streamID(),
		Publish: ss.publisher, Caller: ss.caller.Netip(), Tried: cold.pending.tried,
	}
}
