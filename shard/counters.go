package shard

import "sync/atomic"

// Counter names one number of a shard. Every received datagram meets exactly
// one fate: Received = Forwarded + Answered + Parked + Consumed + all drops,
// each per direction where the name says so.
type Counter uint8

// What a shard counts. "Front" is the caller's side, "back" the backends'.
const (
	ReceivedFront Counter = iota
	ReceivedBack
	ReceivedFrontBytes
	ReceivedBackBytes

	// Fates of a received datagram.
	ForwardedToBackend
	ForwardedToCaller
	ForwardedToBackendBytes
	ForwardedToCallerBytes
	Answered // the relay replied to it
	Parked   // a CONCLUSION held until its backend answers
	Consumed // meant for the relay itself: leg-2 replies, probe replies

	// Drops: the closed list of reasons why a datagram went nowhere.
	DropTruncated       // larger than the receive buffer
	DropShort           // fewer than the 16 bytes of a header
	DropNotHandshake    // addressed to the listener, but no handshake
	DropMalformed       // a handshake too short or with impossible fields
	DropRendezvous      // WAVEAHAND and other phases no listener serves
	DropCookie          // stale or forged cookie, re-induction withheld
	DropForeignCaller   // no session for this caller and socket ID
	DropForeignBackend  // no session for this backend, port and socket ID
	DropDuplicate       // a handshake already answered
	DropEarly           // session traffic before the handshake is complete
	DropClosed          // for a session that ended moments ago
	DropBadReply        // a backend's handshake reply that fits no request
	DropBusy            // the resolver or the inbox was full; the caller retries
	DropHandshakeCap    // a CONCLUSION at the cap of half-open handshakes; the caller retries
	DropSourceCap       // ... of those of one source
	DropHandshakeBudget // a handshake for which running sessions leave no time; the caller retries

	// What was sent, and what could not be.
	Sent
	SentBytes
	SendCalls
	SendBufferFull  // the socket's send buffer stayed full
	SendTooBig      // path MTU (EMSGSIZE)
	SendUnreachable // no route, or refused by policy
	SendFailed      // any other error

	// Batches and loop turns.
	ReceiveCalls
	Turns
	Waits      // turns that slept in the poller
	Gatherings // turns after which datagrams were left to gather
	Stalls     // turns that began late: the loop was stopped

	// Handshakes and sessions.
	Inductions         // stateless INDUCTION replies
	Reinductions       // INDUCTION replies to a stale cookie
	Handshakes         // CONCLUSIONs that opened a handshake
	Established        // handshakes completed
	Rejected           // rejections sent, the relay's own and relayed ones
	Replays            // cached responses sent again
	Failovers          // handshakes moved to another backend
	LegRetries         // leg-2 datagrams sent again
	ShutdownsMade      // SHUTDOWNs made by the relay
	Refusals           // ICMP errors from the socket error queue
	BackendsLost       // confirmed refusals
	AtSessionCap       // CONCLUSIONs refused at the cap of sessions
	AtSourceSessionCap // ... of one source
	AtHandshakeCap     // CONCLUSIONs dropped at the cap of half-open handshakes
	AtSourceCap        // ... of those of one source
	EventsLost         // events that found their queue full
	KernelDrops        // datagrams the kernel dropped at a full receive buffer
	UpstreamsFailed    // upstream sockets that could not be opened
	OffloadLost        // destinations to which superpackets were given up

	// Gauges.
	Sessions      // sessions in any state
	HalfOpen      // sessions resolving or connecting
	Tombstones    // ended sessions not yet freed
	ReceiveQueued // bytes of kernel memory of what waits to be received
	SendQueued    // ... and to leave
	BatchBytes    // memory of the batch

	NumCounters
)

var counterNames = [NumCounters]string{
	ReceivedFront:           "received_front",
	ReceivedBack:            "received_back",
	ReceivedFrontBytes:      "received_front_bytes",
	ReceivedBackBytes:       "received_back_bytes",
	ForwardedToBackend:      "forwarded_to_backend",
	ForwardedToCaller:       "forwarded_to_caller",
	ForwardedToBackendBytes: "forwarded_to_backend_bytes",
	ForwardedToCallerBytes:  "forwarded_to_caller_bytes",
	Answered:                "answered",
	Parked:                  "parked",
	Consumed:                "consumed",
	DropTruncated:           "truncated",
	DropShort:               "short",
	DropNotHandshake:        "not_handshake",
	DropMalformed:           "malformed",
	DropRendezvous:          "rendezvous",
	DropCookie:              "cookie",
	DropForeignCaller:       "foreign_caller",
	DropForeignBackend:      "foreign_backend",
	DropDuplicate:           "duplicate",
	DropEarly:               "early",
	DropClosed:              "closed",
	DropBadReply:            "bad_reply",
	DropBusy:                "busy",
	DropHandshakeCap:        "handshake_cap",
	DropSourceCap:           "source_cap",
	DropHandshakeBudget:     "handshake_budget",
	Sent:                    "sent",
	SentBytes:               "sent_bytes",
	SendCalls:               "send_calls",
	SendBufferFull:          "send_buffer_full",
	SendTooBig:              "send_too_big",
	SendUnreachable:         "send_unreachable",
	SendFailed:              "send_failed",
	ReceiveCalls:            "receive_calls",
	Turns:                   "turns",
	Waits:                   "waits",
	Gatherings:              "gatherings",
	Stalls:                  "stalls",
	Inductions:              "inductions",
	Reinductions:            "reinductions",
	Handshakes:              "handshakes",
	Established:             "established",
	Rejected:                "rejected",
	Replays:                 "replays",
	Failovers:               "failovers",
	LegRetries:              "leg_retries",
	ShutdownsMade:           "shutdowns_made",
	Refusals:                "refusals",
	BackendsLost:            "backends_lost",
	AtSessionCap:            "at_session_cap",
	AtSourceSessionCap:      "at_source_session_cap",
	AtHandshakeCap:          "at_handshake_cap",
	AtSourceCap:             "at_source_cap",
	EventsLost:              "events_lost",
	KernelDrops:             "kernel_drops",
	UpstreamsFailed:         "upstream_failed",
	OffloadLost:             "offload_lost",
	Sessions:                "sessions",
	HalfOpen:                "half_open",
	Tombstones:              "tombstones",
	ReceiveQueued:           "receive_queued_bytes",
	SendQueued:              "send_queued_bytes",
	BatchBytes:              "batch_bytes",
}

// String returns the counter's name in the API and in metrics.
func (c Counter) String() string { return counterNames[c] }

// IsDrop reports whether c counts received datagrams that went nowhere.
func (c Counter) IsDrop() bool { return c >= DropTruncated && c <= DropHandshakeBudget }

// IsSendDrop reports whether c counts datagrams that could not be sent.
func (c Counter) IsSendDrop() bool { return c >= SendBufferFull && c <= SendFailed }

// IsGauge reports whether c can fall.
func (c Counter) IsGauge() bool { return c >= Sessions }

// Stats is a copy of one shard's counters.
type Stats struct {
	Shard  int
	Values [NumCounters]uint64
}

// Counters are a shard's numbers: counted in plain words by the loop, which
// owns them, and published once per turn for everyone else. The padding keeps
// a reader's cache line traffic away from the loop's own words.
type Counters struct {
	local  [NumCounters]uint64
	_      [64]byte
	public [NumCounters]atomic.Uint64
	_      [64]byte
}

// add counts n. Loop only.
func (c *Counters) add(k Counter, n uint64) { c.local[k] += n }

// inc counts one. Loop only.
func (c *Counters) inc(k Counter) { c.local[k]++ }

// publish makes the local numbers visible. Loop only. An unchanged number is
// not stored again: its cache line stays shared with the readers.
func (c *Counters) publish() {
	for k := range c.local {
		if c.public[k].Load() != c.local[k] {
			c.public[k].Store(c.local[k])
		}
	}
}

// Read copies the published numbers. Any goroutine may call it.
func (c *Counters) Read(shard int) Stats {
	s := Stats{Shard: shard}
	for k := range c.public {
		s.Values[k] = c.public[k].Load()
	}
	return s
}
