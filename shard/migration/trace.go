package migration

import (
	"math"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

// Trace is what is known of the datagrams of a session's caller, taken from every 64th: enough
// to tell what its next ones look like. Its times are those of the shard.
type Trace struct {
	at      uint32 // when it was taken, in milliseconds, which wrap
	packets uint32 // from the caller until then; wraps
	spacing uint32 // the mean time between datagrams before, in microseconds
	// clock is the caller's clock less the shard's, in microseconds, which wrap, when it was
	// last seen: at clockAt, see clockUnits.
	clock uint32
	// sequence is that of the last data packet that was noted, and encrypted whether it was;
	// without hasData there was none. sequencePackets is how many datagrams had come from the
	// caller then, which wraps: those that pass in the kernel are not noted.
	sequence, sequencePackets uint32
	hasData, encrypted        bool
	clockAt                   uint16
}

const (
	// TraceMask has all but one in 64 datagrams go without a look at the trace, which is not
	// in the cache.
	TraceMask = 63
	// PassEvery is how often Pass is called while datagrams pass in the kernel. A shard with
	// many sessions takes longer.
	PassEvery = time.Second
	// spacingOver is over how many datagrams the time between them is taken.
	spacingOver = 8
	// busySpacing is the longest mean time between the datagrams of a caller that sends media
	// or gets some, which it acknowledges every 10 ms.
	busySpacing = 40 * time.Millisecond
)

// NewTrace returns the trace of a session that is established now. Its CONCLUSION came with a
// timestamp.
func NewTrace(now, conclusionAt time.Duration, timestamp uint32) Trace {
	return Trace{at: millis(now), clock: timestamp - micros(conclusionAt), clockAt: clockUnits(conclusionAt)}
}

// Note takes the trace of a datagram from the caller. packets have come with it.
func (t *Trace) Note(now time.Duration, packets uint64, p wire.Packet) {
	t.Pass(now, packets)
	if p.IsControl() {
		switch p.Control() {
		case wire.TypeACK, wire.TypeNAK, wire.TypeACKACK:
		default:
			return // gosrt sends a KEEPALIVE back with the timestamp that it came with
		}
	} else {
		if p.TypeInfo()&wire.RexmitBit != 0 {
			return // its timestamp is that of the first time
		}
		t.sequence, t.hasData, t.encrypted = p.Sequence(), true, p.TypeInfo()&wire.KeyMask != 0
		t.sequencePackets = uint32(packets)
	}
	t.NoteClock(now, p)
}

// NoteClock takes the caller's clock of a datagram that came at a time. It is enough to call it for
// those that pass in the kernel and of which TellsClock says so: one in 64 of the caller's ACKs and
// ACKACKs.
func (t *Trace) NoteClock(at time.Duration, p wire.Packet) {
	t.clock, t.clockAt = p.Timestamp()-micros(at), clockUnits(at)
}

// TellsClock reports whether a datagram is for NoteClock. It does not look at the trace, which is
// not in the cache.
func TellsClock(p wire.Packet) bool {
	return (p.Is(wire.TypeACK) || p.Is(wire.TypeACKACK)) && p.TypeInfo()&TraceMask == 1
}

// Pass notes how many datagrams have come by now.
func (t *Trace) Pass(now time.Duration, packets uint64) {
	if n := uint32(packets) - t.packets; n >= spacingOver {
		took := min(uint64(millis(now)-t.at)*1000, math.MaxUint32)
		t.spacing = uint32(took) / n
		t.at, t.packets = millis(now), uint32(packets)
	}
}

// busy reports whether the caller was sending all the time until its last datagram, so that a
// short silence means something.
func (t *Trace) busy(callerSeen time.Duration) bool {
	spacing := time.Duration(t.spacing) * time.Microsecond
	since := time.Duration(int32(millis(callerSeen)-t.at)) * time.Millisecond
	return spacing > 0 && spacing <= busySpacing && since <= max(2*(TraceMask+1)*spacing, 2*PassEvery)
}

func micros(d time.Duration) uint32 { return uint32(d / time.Microsecond) }

// clockUnits returns a time in units of 2^40 ns, some 18 min, which wrap after two years.
func clockUnits(d time.Duration) uint16 { return uint16(d >> clockUnitBits) }

const (
	clockUnitBits = 40
	clockUnit     = time.Duration(1) << clockUnitBits
)

// clockAge is how long ago the caller's clock was last seen, less up to one unit.
func (t *Trace) clockAge(now time.Duration) time.Duration {
	return time.Duration(max(int16(clockUnits(now)-t.clockAt), 0)) * clockUnit
}

func millis(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// Fields of a trace. Its times are by CLOCK_MONOTONIC, as all times in a snapshot.
const (
	tracePackets   message.Number = 1
	traceSpacing   message.Number = 2
	traceClock     message.Number = 3
	traceSequence  message.Number = 4
	traceHasData   message.Number = 5
	traceEncrypted message.Number = 6
	traceAt        message.Number = 7

	traceSequencePackets message.Number = 8
	traceClockAt         message.Number = 9
)

// Append appends the trace as a message.
func (t *Trace) Append(b []byte, clock message.Clock) []byte {
	origin := clock.Origin
	b = message.AppendUint(b, tracePackets, t.packets)
	b = message.AppendUint(b, traceSpacing, t.spacing)
	b = message.AppendFixed32(b, traceClock, t.clock-micros(origin))
	b = message.AppendFixed32(b, traceSequence, t.sequence)
	b = message.AppendBool(b, traceHasData, t.hasData)
	b = message.AppendBool(b, traceEncrypted, t.encrypted)
	b = message.AppendFixed32(b, traceAt, t.at+millis(origin))
	b = message.AppendUint(b, traceSequencePackets, t.sequencePackets)
	return message.AppendUint(b, traceClockAt, t.clockAt+clockUnits(origin))
}

// Read reads what Append has written.
func (t *Trace) Read(m message.Reader, clock message.Clock) error {
	t.clockAt = -clockUnits(clock.Origin) // when the host started, if a version does not write it
	for m.Next() {
		switch m.Number() {
		case tracePackets:
			t.packets = message.Uint[uint32](&m)
		case traceSpacing:
			t.spacing = message.Uint[uint32](&m)
		case traceClock:
			t.clock = message.Uint[uint32](&m) + micros(clock.Origin)
		case traceSequence:
			t.sequence = message.Uint[uint32](&m)
		case traceHasData:
			t.hasData = m.Bool()
		case traceEncrypted:
			t.encrypted = m.Bool()
		case traceAt:
			t.at = message.Uint[uint32](&m) - millis(clock.Origin)
		case traceSequencePackets:
			t.sequencePackets = message.Uint[uint32](&m)
		case traceClockAt:
			t.clockAt = message.Uint[uint16](&m) - clockUnits(clock.Origin)
		}
	}
	return m.Err()
}
