package shard

import "srtrelay/internal/message"

// A snapshot is a message (package message) that ends with a seal. The fields of one type
// stand together below; those of a backend leg, a replay and the cookies are numbered in
// package handshake, those of meters and terms in package telemetry. A number is never
// given to another field, and a new field gets a new number: a reader skips the fields that
// it does not know and takes those that are missing for zero. Where that is not enough, the
// version goes up, and the reader handles both.

const (
	// SnapshotVersion is the version of the snapshots that a shard writes.
	SnapshotVersion = 1
	// oldestSnapshot is the oldest version that a shard reads: the one before, if
	// there is one.
	oldestSnapshot = 1
)

// ReadableSnapshots are the versions of the snapshots that a shard reads.
func ReadableSnapshots() (all []int) {
	for v := oldestSnapshot; v <= SnapshotVersion; v++ {
		all = append(all, v)
	}
	return all
}

// Fields of a snapshot. The version comes first, then the head, and a peer before the
// sessions that name it.
const (
	snapshotVersion  message.Number = 1
	snapshotHead     message.Number = 2
	snapshotFront    message.Number = 3
	snapshotUpstream message.Number = 4
	snapshotStall    message.Number = 5
	snapshotCounter  message.Number = 6
	snapshotRate     message.Number = 7
	snapshotPeer     message.Number = 8
	snapshotSession  message.Number = 9
	snapshotOrphan   message.Number = 10
	snapshotOutcome  message.Number = 11
	snapshotBlock    message.Number = 12 // a stream whose publishers are refused
)

// Fields of the head.
const (
	headShard      message.Number = 1
	headTaken      message.Number = 2 // the time of the snapshot
	headGeneration message.Number = 3 // the last one that was given to a session
	headPlaces     message.Number = 4 // sessions that there was memory for
	// 5 was whether new callers are refused: a process that was stopped is replaced by one
	// that was not.
	headCookies message.Number = 6
	headStalled message.Number = 7 // the sum of all stalls
	headRated   message.Number = 8 // when the rates were last published
)

// Fields of a socket.
const (
	socketAddress message.Number = 1
	socketDrops   message.Number = 2
)

// Fields of a stall.
const (
	stallEnd    message.Number = 1
	stallLength message.Number = 2
)

// Fields of a counter. Its name stays, its place among the counters does not.
const (
	counterName  message.Number = 1
	counterValue message.Number = 2
)

// Fields of the rate of a backend.
const (
	rateBackend message.Number = 1
	rateBits    message.Number = 2 // per second, as the bits of a float64
)

// Fields of a peer.
const (
	peerNumber        message.Number = 1 // by which the sessions name it
	peerID            message.Number = 2
	peerAddress       message.Number = 3
	peerLive          message.Number = 4 // it has sessions
	peerCookie        message.Number = 5
	peerUnrated       message.Number = 6 // bytes since the rates were last published
	peerLostAt        message.Number = 7
	peerProvenAt      message.Number = 8
	peerSilentSince   message.Number = 9
	peerEnding        message.Number = 10 // some of its sessions are still to be ended
	peerClearedAt     message.Number = 11
	peerUnreachableAt message.Number = 12
)

// Fields of a cached cookie.
const (
	cookieUpstream message.Number = 1
	cookieValue    message.Number = 2
	cookieSince    message.Number = 3
)

// Fields of a session. Those that every session has come first: numbers up to 15 take one
// byte.
const (
	sessionIndex        message.Number = 1
	sessionGeneration   message.Number = 2
	sessionState        message.Number = 3
	sessionFlags        message.Number = 4
	sessionFront        message.Number = 5
	sessionUpstream     message.Number = 6
	sessionCaller       message.Number = 7
	sessionCallerID     message.Number = 8
	sessionBackendID    message.Number = 9
	sessionPeer         message.Number = 10
	sessionISN          message.Number = 11
	sessionTimer        message.Number = 12
	sessionCallerSeen   message.Number = 13
	sessionBackendSeen  message.Number = 14
	sessionOpened       message.Number = 15
	sessionEstablished  message.Number = 16
	sessionUnanswered   message.Number = 17
	sessionPacketsUp    message.Number = 18 // to the backend
	sessionBytesUp      message.Number = 19
	sessionPacketsDown  message.Number = 20 // to the caller
	sessionBytesDown    message.Number = 21
	sessionLease        message.Number = 22
	sessionKey          message.Number = 23
	sessionStreamID     message.Number = 24
	sessionTerms        message.Number = 25
	sessionMeter        message.Number = 26
	sessionLocal        message.Number = 27
	sessionGroup        message.Number = 28
	sessionCause        message.Number = 29
	sessionEnded        message.Number = 30
	sessionLastShutdown message.Number = 31
	sessionPending      message.Number = 32
	sessionReplay       message.Number = 33
	sessionInduction    message.Number = 34
	sessionKernel       message.Number = 35 // see appendKernelState
	sessionMigrations   message.Number = 36
	sessionTrace        message.Number = 37 // see migration.Trace
)

// Bits of a session's flags.
const (
	flagCallerKey    uint8 = 1 << iota // the table has it under keyCaller
	flagResponseUsed                   // the caller has sent with the response's socket ID
	flagInPeer                         // the peer has it among its sessions
	flagPublisher                      // the caller is a publisher
	flagDialled                        // it has the peer's address as its backend
)

// Fields of a pending handshake.
const (
	pendingProxyKey     message.Number = 1
	pendingLeg          message.Number = 2
	pendingDialedAt     message.Number = 3
	pendingDeadline     message.Number = 4
	pendingAskedAnother message.Number = 5
	pendingAwaiting     message.Number = 6
	pendingFailure      message.Number = 7
	pendingTried        message.Number = 8
	pendingStallsSeen   message.Number = 9
)

// Fields of a pending INDUCTION.
const (
	inductionRequest message.Number = 1
	inductionLocal   message.Number = 2
	inductionAt      message.Number = 3
)

// Fields of an orphan.
const (
	orphanBackend      message.Number = 1
	orphanCallerID     message.Number = 2
	orphanUpstream     message.Number = 3
	orphanISN          message.Number = 4
	orphanAccepted     message.Number = 5
	orphanUntil        message.Number = 6
	orphanLastShutdown message.Number = 7
)

// Fields of an outcome.
const (
	outcomeLease  message.Number = 1
	outcomeFate   message.Number = 2
	outcomeLasted message.Number = 3
)

// Fields of a block.
const (
	blockStreamKey message.Number = 1
	blockUntil     message.Number = 2
)
