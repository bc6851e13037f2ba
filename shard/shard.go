// Package shard is the data plane. A Shard is one loop on one locked thread
// that owns its sockets, its sessions and all they need; a Group is the fixed
// set of shards of a relay. A session lives and dies on the shard that the
// kernel's flow hash chose for its caller.
//
// One packet's way: loop.go receives a batch, front.go takes a datagram from a
// caller (back.go from a backend), finds its session in table.go, and puts the
// bytes, untouched, on the outbox of the other side. Handshakes leave that way
// at listener.go, to come back by exchange.go.
//
// It must not know how backends are chosen (Balancer), what stream IDs mean
// (handshake), or how a datagram reaches the kernel (udp). Others reach a
// shard by its inbox and by the registry's snapshot only.
package shard

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/udp"
)

// Shard is one worker. Every field belongs to its loop, except the inbox, the
// counters, the rates and the poller's Wake.
type Shard struct {
	id  int
	cfg *Config

	fronts []link // one per listen address
	backs  []link // upstream sockets, opened as needed, never closed
	// upstreamRetry is when another may be opened after one could not be.
	upstreamRetry time.Duration

	poller *udp.Poller
	batch  *udp.Batch
	sizing sizing
	// prepare is the group's: it runs what would hold up the loop.
	prepare func(func())

	gather   gatherer
	more     bool          // a socket had more than a batch takes
	origin   time.Time     // what now counts from; the same for all shards
	now      time.Duration // one clock read per turn
	stalls   stalls
	snapshot *backend.Snapshot
	draining bool
	leaving  bool   // the sessions are being ended
	stopNext uint64 // ... of which this is the next place to look at
	stopping bool   // the loop ends with this turn

	sessions sessions
	meters   telemetry.Slab
	table    Table
	seed     uint64 // of the table's hashes: strangers must not choose buckets
	wheel    Wheel
	fire     func(uint32) // s.timeout, bound once

	jar      *handshake.CookieGenerator
	reinduct *handshake.Limiter
	recent   *handshake.Dedup // INDUCTIONs
	random   *rand.Rand
	sources  map[addr.IP]load
	budget   budget
	late     []int // messages of the batch that hold handshakes, for later in the turn
	halfOpen int
	// returning are INDUCTIONs that wait, by session: mostly none.
	returning map[uint32]returning
	tombs     int
	orphans   orphans
	peers     map[addr.AddrPort]*peer
	taps      taps
	ledger    sessionLedger
	slots     []*peer // peers by Session.slot; nil where one is free
	ratesAt   time.Duration
	rates     atomic.Pointer[rates]
	suspects  []*peer
	dying     []*peer  // lost, and not all of their sessions are told
	others    []*Shard // of the group; for their inboxes

	owed []backend.Outcome // to report when the balancer has time, in order

	scratch  []byte       // datagrams of the relay's own, until the next flush
	letters  []letter     // the inbox's list of last time
	broken   chan<- error // the group's
	inbox    inbox
	counters Counters
}

// direction is a side of the relay: the callers' or the backends'.
type direction uint8

const (
	frontSide direction = iota
	backSide
)

// received is what counts the datagrams that come from this side, and their
// bytes.
func (d direction) received() (datagrams, bytes Counter) {
	if d == frontSide {
		return ReceivedFront, ReceivedFrontBytes
	}
	return ReceivedBack, ReceivedBackBytes
}

// link is a socket of the loop, with its outbox.
type link struct {
	sock  *udp.Socket
	out   *udp.Outbox
	side  direction
	index uint8 // among the links of its side
	ipv6  bool
	// hot says that the socket may have something to read, faulty that its
	// error queue has.
	hot, faulty bool
}
