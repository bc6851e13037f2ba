// Package shard is the data plane. A Shard is one loop on one locked thread that
// owns its sockets and its sessions; a Group is the fixed set of shards of a relay.
// A session stays on the shard that the kernel's flow hash chose for its caller.
//
// One packet's way: loop.go receives a batch and dispatches each datagram, forward.go
// finds its session by table.go and adds the bytes, unchanged, to the outbox of the
// other side. callerhandshake.go answers a caller's INDUCTION and a stale cookie,
// admission.go admits a CONCLUSION; handshake.go has the relay's handshake with the
// backend, failover.go the choice of another one and the end of the sessions of a backend
// that has died, lifecycle.go the other ends of a session and the SHUTDOWNs.
//
// What admission.go asks: callerlimits.go has the limits of sources and streams, whose figures
// usage.go keeps and usagesweep.go measures and lists; overload.go what the steps of the overload
// ladder refuse; handshakebudget.go the time for handshakes. shielded.go checks control packets.
//
// A datagram without a session here goes to the shard or the relay that has the session
// (elsewhere.go). It may also come from a caller whose address has changed: candidate.go has the
// caller prove that, and migration.go moves the session.
//
// The packages below shard know no Shard, only plain values: owners (which shard has a session),
// letterbox (how datagrams reach it), migration (whose datagram it is), limit (which limits are
// met), shield (which control packets pass), relays (which relay has a session). kernelpath relays
// sessions in the kernel; ledger and checkpoint are the formats of what outlives the process.
//
// It must not know how backends are chosen (Resolver), what stream IDs mean (package
// streamid), or how a datagram reaches the kernel (package udp). Others reach a shard
// by its inbox and by the registry's snapshot only.
package shard

import (
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"sync/atomic"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/internal/tokenbucket"
	"srtrelay/observe/telemetry"
	"srtrelay/relay/overload"
	"srtrelay/shard/letterbox"
	"srtrelay/shard/limit"
	"srtrelay/shard/migration"
	"srtrelay/shard/owners"
	"srtrelay/shard/relays"
	"srtrelay/udp"
)

// Shard is one worker. Every field belongs to its loop, except the inbox, the
// counters, the rates and the poller's Wake.
type Shard struct {
	id     int
	cfg    *Config
	limits Limits // those of cfg, until others replace them

	fronts []endpoint // one per listen address
	backs  []endpoint // upstream sockets, opened as needed, never closed
	// upstreamRetryAt is when another upstream socket may be opened after a
	// failure.
	upstreamRetryAt time.Duration
	// upstreamsHeld says that no upstream socket may be opened, because another process
	// has been given the list of them. held are the tasks that would open one.
	upstreamsHeld bool
	held          []task

	poller    *udp.Poller
	batch     *udp.Batch
	batchFull bool // a socket had as much as a batch takes, or more
	sizing    sizing
	gather    gatherer
	stalls    stalls

	origin   time.Time     // time 0 of now; the same for all shards
	originAt time.Duration // the same by CLOCK_MONOTONIC, as another process can use it
	now      time.Duration // one clock read per turn
	snapshot *backend.Snapshot

	draining       bool   // new callers are rejected
	endingSessions bool   // the sessions are being ended
	stopCursor     uint64 // the next place to look for one
	exiting        bool   // the loop ends with this turn
	abandoned      bool   // ... and leaves the sessions to another process

	freeze     *freeze // the loop parks when its turn is over
	drainFirst bool    // the next turn empties the sockets before timers fire

	step      overload.Step  // of the present turn
	groupStep *atomic.Uint32 // of the relay
	// receivedAtRates is how many datagrams had come at peers.ratesAt.
	receivedAtRates uint64
	gapChunk        int // the next chunk of sessions whose meters are told of a gap
	work            workClock

	sessions  sessions
	meters    telemetry.Slab
	wheel     timerWheel
	onTimer   func(uint32) // s.onTimeout, bound once
	admission admission
	usage     usage
	// handshakes are the messages of the batch that hold handshakes, which are
	// dispatched last.
	handshakes []int
	// pendingInductions are by session; hardly any session has one.
	pendingInductions map[uint32]pendingInduction
	orphans           orphans
	peers             peers
	captures          captures
	ledger            sessionLedger
	checkpoints       checkpoints
	upstreams         atomic.Int64 // how many sockets there are, for others
	outcomes          outcomes
	unasked           []sessionRef // restored sessions that need an answer of the resolver
	kernel            kernel
	lane              *relays.Lane // for datagrams of other relays' sessions; nil for none
	random            *rand.Rand

	scratch  []byte // the relay's own datagrams, until the next flush
	tasks    []task // the inbox's list of last time
	inbox    inbox
	counters counterSet

	owners    *owners.Owners // of the group
	letterbox *letterbox.Box
	letters   letterbox.Batch     // the memory of the letters of last time
	outgoing  []letterbox.Posting // letters to others, until the next flush

	candidates map[uint32]*migration.Candidate // by session
	announced  map[uint32]announced            // by session; of hardly any
	// deferredAddresses, by session, may become candidates.
	deferredAddresses map[uint32]deferredAddress
	challenges        tokenbucket.Bucket
	migrationLimiter  migration.Limiter
	routes            owners.Routes

	// Of the group: the other shards, where to report an error, and what runs a
	// function off the loop.
	group      []*Shard // all of them, by id
	others     []*Shard
	broken     chan<- error
	background func(func())
}

func newShard(id int, cfg *Config, sums *limit.Sums, origin time.Time, originAt time.Duration) (*Shard, error) {
	poller, err := udp.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("open poller: %w", err)
	}
	var chacha [32]byte
	_, _ = crand.Read(chacha[:]) // never fails (crypto/rand, Go 1.24)
	random := rand.New(rand.NewChaCha8(chacha))
	seed := random.Uint64()
	s := &Shard{
		id: id, cfg: cfg, origin: origin, originAt: originAt,
		poller:            poller,
		letterbox:         letterbox.New(poller.Wake),
		sizing:            sizing{sizes: udp.BatchSizes(cfg.Batch, cfg.messageSize())},
		gather:            gatherer{maxWait: cfg.BatchWait, target: gatherFill * float64(cfg.Batch)},
		sessions:          sessions{table: newTable(), seed: seed},
		random:            random,
		handshakes:        make([]int, 0, cfg.Batch),
		pendingInductions: make(map[uint32]pendingInduction),
		candidates:        make(map[uint32]*migration.Candidate),
		deferredAddresses: make(map[uint32]deferredAddress),
		challenges:        tokenbucket.New(migration.ChallengeRate, migration.ChallengeRate/10),
		announced:         make(map[uint32]announced),
		routes:            owners.NewRoutes(random.Uint64()),
		peers:             peers{byAddr: make(map[addr.AddrPort]*peer)},
		outcomes:          outcomes{resolver: cfg.Resolver},
		scratch:           make([]byte, 0, scratchSize),
	}
	s.limits = cfg.Limits()
	s.admission = newAdmission(cfg, seed)
	s.usage = newUsage(id, sums)
	if s.batch, err = s.newBatch(0); err != nil {
		_ = poller.Close()
		return nil, err
	}
	s.onTimer = s.onTimeout
	s.groupStep = new(atomic.Uint32) // until makeShards gives it the group's
	s.work.word.Store(-1)            // it waits
	s.stalls.due = never
	s.inbox = inbox{limit: inboxLimit(s.limits), wake: poller.Wake, terminated: make(chan struct{})}
	s.openLane()
	return s, nil
}

const (
	// endsPerTurn limits how many sessions a turn ends when many end at once,
	// because a backend is lost or the relay stops. Each costs two SHUTDOWNs and
	// an event, some 4 us, so that such a turn takes 2 ms more than others and
	// the datagrams of other sessions are not held up.
	endsPerTurn = 512
	// scansPerTurn limits how many places of the store a turn looks at to find
	// them.
	scansPerTurn = 16 * endsPerTurn
)

// PanicError says that a shard's loop has panicked.
type PanicError struct {
	Shard int
	Value any
	Stack []byte
}

// Error returns the panic's value, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("shard %d: panic: %v", e.Shard, e.Value) }

// abort ends the loop after an error of a socket or the poller. The kernel goes on to
// give flows to this shard's sockets, so the whole relay must end and be started
// again. The sessions get their SHUTDOWNs when the turn is over.
func (s *Shard) abort(err error) {
	s.exiting = true
	s.reportBroken(err)
}

// reportBroken tells the group why this shard cannot go on.
func (s *Shard) reportBroken(err error) {
	select {
	case s.broken <- err:
	default: // another shard was first
	}
}

// recoverPanic is deferred by run. After a panic the shard's state may be inconsistent
// and is not touched any more. The sockets stay open until the other loops have
// ended, because closing one would move the flows of the others (see Group).
func (s *Shard) recoverPanic() {
	v := recover()
	if v == nil {
		return
	}
	s.reportBroken(&PanicError{Shard: s.id, Value: v, Stack: debug.Stack()})
	s.letterbox.Close()
	s.inbox.abandon()
}

// beginStop has the loop end all sessions, in slices, and then itself. Loop only.
func (s *Shard) beginStop() { s.draining, s.endingSessions = true, true }

// stopSlice ends the next sessions of a shard that stops, at most so many. It reports
// whether none is left.
func (s *Shard) stopSlice(most int) (done bool) {
	all := s.sessions.places()
	for ended, scans := 0, 0; s.stopCursor < all && ended < most && scans < scansPerTurn; scans++ {
		i := uint32(s.stopCursor)
		s.stopCursor++
		switch ss := s.sessions.at(i); ss.state {
		case StateEstablished:
			s.endSession(i, ss, CauseStopped)
			ended++
		case StateResolving, StateConnecting:
			s.rejectWith(i, ss, handshake.CodeDown, backend.FateUnused)
			ended++
		}
	}
	return s.stopCursor == all
}

// finish ends the sessions that are left, which there are after abort, and runs the
// last tasks.
func (s *Shard) finish() {
	s.draining = true
	for !s.stopSlice(endsPerTurn) {
		s.flush()
	}
	s.flush()
	s.sessions.each(func(i uint32, ss *session) {
		if ss.state == StateRejected || ss.state == StateClosing {
			s.freeSession(i, ss)
		}
	})
	for _, t := range s.inbox.close() {
		t(s)
	}
	s.closeLetters()
	s.inbox.abandon()
	s.outcomes.retry()
	s.captures.end()
	s.readQueueStats() // for the last drops
	s.updateGauges()
	s.counters.publish()
}

// closeSockets closes the sockets, the poller and the batch. The loop must have ended.
func (s *Shard) closeSockets() {
	s.eachEndpoint(func(ep *endpoint, _ int) { _ = ep.sock.Close() })
	_ = s.poller.Close()
	_ = s.batch.Close()
}

// close ends a shard whose loop does not run.
func (s *Shard) close() {
	s.finish()
	s.closeSockets()
}
