package shard

import (
	"sync/atomic"
)

// Counter is one counter of a shard. Every received datagram has exactly one fate:
// Received = Forwarded + Answered + Parked + Consumed + PassedOn + all drops, each per direction
// where the name says so.
type Counter uint8

// What a shard counts. "Front" is the caller's side, "back" the backends'.
const (
	CountReceivedFront Counter = iota
	CountReceivedBack
	CountReceivedFrontBytes
	CountReceivedBackBytes

	// Fates of a received datagram.
	CountForwardedToBackend
	CountForwardedToCaller
	CountForwardedToBackendBytes
	CountForwardedToCallerBytes
	CountAnswered // the relay replied to it
	CountParked   // a CONCLUSION held until its backend answers
	CountConsumed // meant for the relay itself: replies of the backend leg, probe replies
	CountPassedOn // given to the relay that has its session, or held until that is known

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
	DropPassLimit       // of another relay's session, and too many such datagrams
	DropSilenced        // a CONCLUSION at a limit, from a source that has had enough rejections
	DropRetired         // a handshake at a listener that the configuration no longer names
	DropLetters         // for a session of another shard, which had no space for it
	DropUnvalidated     // from another address than the session's, which its caller has not confirmed

	// Control packets that fail the shield's check, by what they are: the order of
	// shield.Verdict.
	DropShieldKM        // KMREQ or KMRSP of an impossible length
	DropShieldACK       // ACK: its length, or no sequence number
	DropShieldNAK       // NAK: cut short, or a range without its end
	DropShieldDropReq   // DROPREQ: its length, or an impossible range
	DropShieldHandshake // handshake, HSREQ or HSRSP: its length, or that of its key material
	DropShieldLength    // any other: longer than its padding may be

	// CountLetters are datagrams for a session of another shard, which counts them as
	// received, and their fate. Here they are not among the received ones.
	CountLetters

	// What was sent, and what could not be.
	CountSent
	CountSentBytes
	CountSendCalls
	CountSendBufferFull  // the socket's send buffer stayed full
	CountSendTooBig      // path MTU (EMSGSIZE)
	CountSendUnreachable // no route, or refused by policy
	CountSendFailed      // any other error

	// Batches and loop turns.
	CountReceiveCalls
	CountTurns
	CountWaits      // turns that slept in the poller
	CountGatherings // turns after which datagrams were left to gather
	CountStalls     // turns that began late: the loop was stopped

	// Handshakes and sessions.
	CountInductions         // stateless INDUCTION replies
	CountReinductions       // INDUCTION replies to a stale cookie
	CountHandshakes         // CONCLUSIONs that opened a handshake
	CountEstablished        // handshakes completed
	CountRejected           // rejections sent, the relay's own and relayed ones
	CountReplays            // cached responses sent again
	CountFailovers          // handshakes moved to another backend
	CountLegRetries         // datagrams of the backend leg sent again
	CountShutdownsMade      // SHUTDOWNs made by the relay
	CountRefusals           // ICMP errors from the socket error queue
	CountBackendsLost       // confirmed by probes
	CountAtSessionCap       // CONCLUSIONs refused at the cap of sessions
	CountAtSourceSessionCap // ... of one source
	CountAtSourceConnects   // ... at the cap of connects of one source
	CountAtSourceBitrate    // ... of its bitrate
	CountAtSubnetSessions   // ... at the same caps of one subnet
	CountAtSubnetConnects
	CountAtSubnetBitrate
	CountAtStreamPlayers    // ... at the cap of players of one stream
	CountAtStreamBlocked    // publishers refused because the stream is blocked
	CountStreamsOverLimit   // publishers that were found above their bitrate
	CountAtHandshakeCap     // CONCLUSIONs dropped at the cap of half-open handshakes
	CountAtSourceCap        // ... of those of one source
	CountOverloadPlayers    // players refused at a step of the overload ladder
	CountOverloadPublishers // ... and publishers
	CountCandidates         // addresses that a session could move to, and were challenged
	CountChallenges         // challenges sent, to them and to the sessions' own addresses
	CountMigrations         // sessions that moved to another address of their caller
	CountEventsLost         // events that found their queue full
	CountKernelDrops        // datagrams the kernel dropped at a full receive buffer
	CountUpstreamsFailed    // upstream sockets that could not be opened
	CountOffloadLost        // destinations to which superpackets were given up

	// The kernel path. What passes there is counted above as well.
	CountKernelToBackend   // datagrams forwarded in the kernel, of CountForwardedToBackend
	CountKernelToCaller    // ... of CountForwardedToCaller
	CountKernelBytes       // ... of both
	CountKernelRecords     // records that were read
	CountKernelRecordsLost // records for which there was no space
	CountKernelHandovers   // ways handed over while datagrams passed
	CountKernelNotEntered  // sessions that could not enter

	// Gauges.
	CountSessions       // sessions in any state
	CountHalfOpen       // sessions resolving or connecting
	CountTombstones     // ended sessions not yet freed
	CountReceiveQueued  // bytes of kernel memory of what waits to be received
	CountSendQueued     // ... and to leave
	CountBatchBytes     // memory of the batch
	CountKernelSessions // sessions in the kernel path
	CountSources        // sources and subnets in the table
	CountSourcesLive    // ... that have sessions
	CountStreamsBlocked // streams whose publishers are refused

	NumCounters
)

var counterNames = [NumCounters]string{
	CountReceivedFront:           "received_front",
	CountReceivedBack:            "received_back",
	CountReceivedFrontBytes:      "received_front_bytes",
	CountReceivedBackBytes:       "received_back_bytes",
	CountForwardedToBackend:      "forwarded_to_backend",
	CountForwardedToCaller:       "forwarded_to_caller",
	CountForwardedToBackendBytes: "forwarded_to_backend_bytes",
	CountForwardedToCallerBytes:  "forwarded_to_caller_bytes",
	CountAnswered:                "answered",
	CountParked:                  "parked",
	CountConsumed:                "consumed",
	CountPassedOn:                "passed_on",
	DropTruncated:                "truncated",
	DropShort:                    "short",
	DropNotHandshake:             "not_handshake",
	DropMalformed:                "malformed",
	DropRendezvous:               "rendezvous",
	DropCookie:                   "cookie",
	DropForeignCaller:            "foreign_caller",
	DropForeignBackend:           "foreign_backend",
	DropDuplicate:                "duplicate",
	DropEarly:                    "early",
	DropClosed:                   "closed",
	DropBadReply:                 "bad_reply",
	DropBusy:                     "busy",
	DropHandshakeCap:             "handshake_cap",
	DropSourceCap:                "source_cap",
	DropHandshakeBudget:          "handshake_budget",
	DropPassLimit:                "pass_limit",
	DropSilenced:                 "silenced",
	DropRetired:                  "retired",
	DropShieldKM:                 "shield_km",
	DropShieldACK:                "shield_ack",
	DropShieldNAK:                "shield_nak",
	DropShieldDropReq:            "shield_dropreq",
	DropShieldHandshake:          "shield_handshake",
	DropShieldLength:             "shield_length",
	DropLetters:                  "letters_full",
	DropUnvalidated:              "unvalidated",
	CountLetters:                 "letters",
	CountSent:                    "sent",
	CountSentBytes:               "sent_bytes",
	CountSendCalls:               "send_calls",
	CountSendBufferFull:          "send_buffer_full",
	CountSendTooBig:              "send_too_big",
	CountSendUnreachable:         "send_unreachable",
	CountSendFailed:              "send_failed",
	CountReceiveCalls:            "receive_calls",
	CountTurns:                   "turns",
	CountWaits:                   "waits",
	CountGatherings:              "gatherings",
	CountStalls:                  "stalls",
	CountInductions:              "inductions",
	CountReinductions:            "reinductions",
	CountHandshakes:              "handshakes",
	CountEstablished:             "established",
	CountRejected:                "rejected",
	CountReplays:                 "replays",
	CountFailovers:               "failovers",
	CountLegRetries:              "leg_retries",
	CountShutdownsMade:           "shutdowns_made",
	CountRefusals:                "refusals",
	CountBackendsLost:            "backends_lost",
	CountAtSessionCap:            "at_session_cap",
	CountAtSourceSessionCap:      "at_source_session_cap",
	CountAtSourceConnects:        "at_source_connects",
	CountAtSourceBitrate:         "at_source_bitrate",
	CountAtSubnetSessions:        "at_subnet_sessions",
	CountAtSubnetConnects:        "at_subnet_connects",
	CountAtSubnetBitrate:         "at_subnet_bitrate",
	CountAtStreamPlayers:         "at_stream_players",
	CountAtStreamBlocked:         "at_stream_blocked",
	CountStreamsOverLimit:        "streams_over_limit",
	CountAtHandshakeCap:          "at_handshake_cap",
	CountAtSourceCap:             "at_source_cap",
	CountCandidates:              "migration_candidates",
	CountChallenges:              "migration_challenges",
	CountMigrations:              "migrations",
	CountOverloadPlayers:         "overload_players",
	CountOverloadPublishers:      "overload_publishers",
	CountEventsLost:              "events_lost",
	CountKernelDrops:             "kernel_drops",
	CountUpstreamsFailed:         "upstream_failed",
	CountOffloadLost:             "offload_lost",
	CountKernelToBackend:         "kernel_path_to_backend",
	CountKernelToCaller:          "kernel_path_to_caller",
	CountKernelBytes:             "kernel_path_bytes",
	CountKernelRecords:           "kernel_path_records",
	CountKernelRecordsLost:       "kernel_path_records_lost",
	CountKernelHandovers:         "kernel_path_handovers",
	CountKernelNotEntered:        "kernel_path_not_entered",
	CountSessions:                "sessions",
	CountHalfOpen:                "half_open",
	CountTombstones:              "tombstones",
	CountReceiveQueued:           "receive_queued_bytes",
	CountSendQueued:              "send_queued_bytes",
	CountBatchBytes:              "batch_bytes",
	CountKernelSessions:          "kernel_path_sessions",
	CountSources:                 "sources",
	CountSourcesLive:             "sources_live",
	CountStreamsBlocked:          "streams_blocked",
}

// String returns the counter's name in the API and in metrics.
func (c Counter) String() string { return enumName(counterNames[:], c) }

// IsDrop reports whether c counts received datagrams that went nowhere.
func (c Counter) IsDrop() bool { return c >= DropTruncated && c <= DropShieldLength }

// IsSendDrop reports whether c counts datagrams that could not be sent.
func (c Counter) IsSendDrop() bool { return c >= CountSendBufferFull && c <= CountSendFailed }

// IsGauge reports whether c can fall.
func (c Counter) IsGauge() bool { return c >= CountSessions }

// Stats is a copy of one shard's counters.
type Stats struct {
	Shard  int
	Values [NumCounters]uint64
}

// counterSet has a shard's counters: plain words that the loop counts in, and atomic
// copies that it publishes once per turn. The padding keeps readers off the cache
// lines of the loop's own words.
type counterSet struct {
	local  [NumCounters]uint64
	_      [64]byte
	public [NumCounters]atomic.Uint64
	_      [64]byte
}

// add counts n. Loop only.
func (c *counterSet) add(k Counter, n uint64) { c.local[k] += n }

// inc counts one. Loop only.
func (c *counterSet) inc(k Counter) { c.local[k]++ }

// received returns how many datagrams the shard itself has received. Loop only.
func (c *counterSet) received() uint64 {
	return c.local[CountReceivedFront] + c.local[CountLetters] + c.local[CountReceivedBack] - c.local[CountKernelToBackend] - c.local[CountKernelToCaller]
}

// forwardedBytes returns what the shard itself has forwarded, in bytes. Loop only.
func (c *counterSet) forwardedBytes() uint64 {
	return c.local[CountForwardedToBackendBytes] + c.local[CountForwardedToCallerBytes] - c.local[CountKernelBytes]
}

// publish makes the local numbers visible. Loop only. An unchanged number is
// not stored again: its cache line stays shared with the readers.
func (c *counterSet) publish() {
	for k := range c.local {
		if c.public[k].Load() != c.local[k] {
			c.public[k].Store(c.local[k])
		}
	}
}

// Read copies the published numbers. Any goroutine may call it.
func (c *counterSet) Read(shard int) Stats {
	s := Stats{Shard: shard}
	for k := range c.public {
		s.Values[k] = c.public[k].Load()
	}
	return s
}

// updateGauges sets the gauges that the loop knows.
func (s *Shard) updateGauges() {
	c := &s.counters
	c.local[CountSessions] = uint64(s.sessions.live)
	c.local[CountHalfOpen] = uint64(s.admission.halfOpen)
	c.local[CountTombstones] = uint64(s.sessions.tombstones)
	c.local[CountBatchBytes] = uint64(s.batch.Bytes())
	c.local[CountKernelSessions] = uint64(s.kernel.sessions)
	c.local[CountSources], c.local[CountSourcesLive] = uint64(s.usage.sources.Len()), uint64(s.usage.sources.Held())
	c.local[CountStreamsBlocked] = uint64(s.usage.streams.Len() - s.usage.streams.Held())
}
