package shard

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/handshake"
	"srtrelay/observe/telemetry"
	"srtrelay/shard/limit"
	"srtrelay/shard/migration"
)

// inSnapshot has the fields of all that a session consists of, and of the shard: those
// that a snapshot has, and those that it leaves out, with the reason.
var inSnapshot = []struct {
	of      reflect.Type
	written string
	leftOut map[string]string
}{
	{
		of: reflect.TypeFor[Shard](),
		written: "id fronts backs stalls originAt now sessions meters wheel admission pendingInductions orphans peers " +
			"outcomes unasked kernel counters usage",
		leftOut: map[string]string{
			"cfg": "of the process", "limits": "of the process",
			"upstreamRetryAt": "may be retried at once",
			"upstreamsHeld":   "ends with the take-over", "held": "is asked for again",
			"origin": "likewise originAt", "abandoned": "of this process", "freeze": "of this process",
			"drainFirst": "of a turn",
			"step":       "read each turn", "groupStep": "of the group", "receivedAtRates": "likewise starts anew", "gapChunk": "meters are skipped in the snapshot", "work": "starts anew",
			"poller": "of the process", "batch": "empty between turns", "batchFull": "of a turn", "handshakes": "of a turn",
			"sizing": "starts anew", "gather": "starts anew",
			"snapshot": "of the registry", "draining": "a process that was stopped is replaced by one that was not", "endingSessions": "a relay that stops is not taken over",
			"stopCursor": "likewise", "exiting": "likewise",
			"onTimer": "bound anew", "captures": "end", "ledger": "is written anew", "checkpoints": "are written anew", "upstreams": "counted anew", "random": "starts anew",
			"scratch": "empty between turns", "tasks": "of a turn", "inbox": "answers are asked for again",
			"others": "of the group", "broken": "of the group", "background": "of the group", "group": "of the group",
			"lane": "owners are asked for again", "owners": "made anew", "letterbox": "read before", "letters": "of a turn", "outgoing": "of a turn", "migrationLimiter": "starts anew",
			"routes": "are announced again", "announced": "is announced again", "candidates": "begin anew", "deferredAddresses": "are noted anew", "challenges": "starts anew",
		},
	},
	{
		of: reflect.TypeFor[sessions](), written: "chunks coldChunks live gen",
		leftOut: map[string]string{"free": "made anew", "tombstones": "counted anew", "table": "made anew", "seed": "another one"},
	},
	{
		of: reflect.TypeFor[session](),
		written: "callerID backendID caller state cause front upstream hasCallerKey responseUsed inPeer publisher inKernel meter isn " +
			"backend toBackend callerSeen unansweredSince backendSeen toCaller local gen group lease establishedAt lastShutdown",
		leftOut: map[string]string{"peerSlot": "given anew", "captures": "end"},
	},
	{
		of: reflect.TypeFor[coldState](), written: "pending replay peer names terms opened ended trace migrations",
		leftOut: map[string]string{"keyLength": "likewise names", "next": "made anew", "prev": "made anew"},
	},
	{of: reflect.TypeFor[migration.Trace](), written: "at packets spacing clock sequence sequencePackets hasData encrypted clockAt"},
	{of: reflect.TypeFor[pendingHandshake](), written: "proxyKey leg attempt tried stallsSeen"},
	{of: reflect.TypeFor[attempt](), written: "dialedAt deadline askedAnother awaiting failure"},
	{of: reflect.TypeFor[pendingInduction](), written: "request local at"},
	{of: reflect.TypeFor[Flow](), written: "Packets Bytes"},
	{
		of: reflect.TypeFor[peer](), written: "id addr bytes ratedBytes cookies lostAt proof nextToEnd clearedAt unreachableAt",
		leftOut: map[string]string{
			"sessions": "counted anew", "firstSession": "made anew", "slot": "given anew",
			"suspect": "starts anew", "refused": "starts anew", "unresponsive": "starts anew", "suspectSince": "starts anew",
			"probes": "start anew", "nextProbe": "starts anew", "probeID": "starts anew", "nonce": "starts anew",
		},
	},
	{of: reflect.TypeFor[cachedCookie](), written: "cookie since"},
	{of: reflect.TypeFor[proof](), written: "at silentSince"},
	{
		of: reflect.TypeFor[peers](), written: "byAddr ending ratesAt rates",
		leftOut: map[string]string{"slots": "made anew", "suspects": "start anew"},
	},
	{of: reflect.TypeFor[orphans](), written: "byKey queue", leftOut: map[string]string{"head": "starts anew"}},
	{of: reflect.TypeFor[orphanKey](), written: "backend callerID upstream"},
	{of: reflect.TypeFor[orphan](), written: "isn accepted until lastShutdown"},
	{of: reflect.TypeFor[outcomes](), written: "unreported", leftOut: map[string]string{"resolver": "of the process"}},
	{of: reflect.TypeFor[backend.Outcome](), written: "Lease Fate Lasted"},
	{of: reflect.TypeFor[stalls](), written: "lastTurn due ring count total"},
	{of: reflect.TypeFor[stall](), written: "end length"},
	{
		of: reflect.TypeFor[admission](), written: "cookies halfOpen",
		leftOut: map[string]string{
			"seed":  "another one",
			"dedup": "starts anew", "inductions": "starts anew", "staleCookies": "starts anew", "budget": "starts anew",
		},
	},
	{
		of: reflect.TypeFor[usage](), written: "streams",
		leftOut: map[string]string{
			"shard": "of the process", "sums": "of the group", "sources": "counted anew", "accounts": "begin anew", "over": "starts anew", "sweep": "starts anew",
			"chunk": "starts anew", "chunkAt": "starts anew", "paused": "starts anew", "lister": "starts anew", "listingStreams": "starts anew", "place": "starts anew",
			"listAt": "starts anew", "began": "starts anew", "listed": "starts anew", "epoch": "starts anew", "rules": "of the process",
		},
	},
	{
		of: reflect.TypeFor[limit.Stream](), written: "BlockedUntil",
		leftOut: map[string]string{
			"Players": "counted anew", "Publishers": "counted anew", "Bitrate": "measured anew", "Refused": "starts anew",
			"Limits": "looked up anew", "Epoch": "likewise",
		},
	},
	{
		of: reflect.TypeFor[timerWheel](), written: "timers",
		leftOut: map[string]string{"slots": "made anew", "busy": "made anew", "tick": "of the time", "pending": "counted anew", "firing": "of a turn"},
	},
	{of: reflect.TypeFor[counterSet](), written: "local", leftOut: map[string]string{"_": "padding", "public": "published anew"}},
	{
		of: reflect.TypeFor[handshake.BackendLeg](),
		written: "phase invalidReply caller backend nonce cookie cookieCached cookieSent backlog refusal conclusion original retries " +
			"deadline retry sends",
		leftOut: map[string]string{"response": "becomes a replay in the same turn", "answeredAt": "likewise"},
	},
	{of: reflect.TypeFor[handshake.Request](), written: "CallerID ISN StreamID Group"},
	{of: reflect.TypeFor[handshake.Replay](), written: "answer stampedAt retries"},
	{of: fieldType(reflect.TypeFor[handshake.Replay](), "retries"), written: "timestamp at"},
	{
		of: reflect.TypeFor[handshake.CookieGenerator](), written: "own shift",
		leftOut: map[string]string{"source": "of the relay", "seen": "of source", "shared": "derived of source", "wall": "read anew"},
	},
	{
		of: fieldType(reflect.TypeFor[handshake.CookieGenerator](), "own"), written: "secret",
		leftOut: map[string]string{"epoch": "of the time", "current": "derived", "previous": "derived", "next": "derived"},
	},
	{
		of: reflect.TypeFor[telemetry.Meter](), written: "place",
		leftOut: map[string]string{"isn": "the session's", "rexmit": "of the terms"},
	},
	{
		of: recordType(), written: "last next expect strays hasReceiver implausible Counts dropped dropping receiver ackTimer noted seen",
		leftOut: map[string]string{"rexmit": "of the meter", "nextNote": "starts anew", "marked": "seen is complete in a snapshot"},
	},
	{
		of: reflect.TypeFor[telemetry.Counts](),
		written: "Packets Bytes Retransmitted Filter LostBefore LostBehind LostReported Duplicated Reordered Dropped ACKs NAKs ACKACKs " +
			"KeyRefreshes",
	},
	{of: reflect.TypeFor[telemetry.Receiver](), written: "RTT RTTVar Buffer PacketRate Capacity ByteRate"},
	{
		of: fieldType(recordType(), "ackTimer"), written: "recent kept rtt rttVar timed",
		leftOut: map[string]string{"turn": "starts anew"},
	},
	{
		of: reflect.TypeFor[telemetry.Terms](),
		written: "Names CallerVersion BackendVersion callerFlags backendFlags LatencyToBackend LatencyToCaller GroupID GroupType Cipher " +
			"KeyLen",
	},
	{of: reflect.TypeFor[telemetry.Names](), written: "Filter Congestion"},
	{of: reflect.TypeFor[addr.AddrPort](), written: "IP Zone Port"},
}

func fieldType(of reflect.Type, name string) reflect.Type {
	f, _ := of.FieldByName(name)
	return f.Type
}

// recordType is the type of the records in a slab, which has chunks of them.
func recordType() reflect.Type {
	return fieldType(reflect.TypeFor[telemetry.Slab](), "chunks").Elem().Elem().Elem()
}

// A new field is to be in the snapshot, or to be named here as one that is not, with the
// reason. A field that is written gets a number in snapshotfields.go, or in snapshot.go of
// its package, and a case where it is read; TestRestoreEveryState should see it. The format
// changes by that, but its version does not: an older reader skips the field, and a newer
// one takes it for zero if it is missing. If zero would be wrong, SnapshotVersion goes up,
// restore handles both versions, and testdata gets a snapshot of the new one.
func TestEveryFieldIsInTheSnapshot(t *testing.T) {
	for _, c := range inSnapshot {
		written := strings.Fields(c.written)
		for k := range c.of.NumField() {
			name := c.of.Field(k).Name
			if _, left := c.leftOut[name]; left == slices.Contains(written, name) {
				t.Errorf("%v.%s: write it into the snapshot, or say why not", c.of, name)
			}
		}
		for name := range c.leftOut {
			written = append(written, name)
		}
		for _, name := range written {
			if _, exists := c.of.FieldByName(name); !exists {
				t.Errorf("%v has no field %s any more", c.of, name)
			}
		}
	}
}
