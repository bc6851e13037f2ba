package shard

import (
	"math"
	"time"

	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// trace is what is known of the datagrams of a session's caller, taken from every 64th: enough
// to tell what its next ones look like.
type trace struct {
	at      uint32 // when it was taken, in milliseconds, which wrap
	packets uint32 // of session.toBackend then; wraps
	spacing uint32 // the mean time between datagrams before, in microseconds
	// clock is the caller's clock less the shard's, in microseconds, which wrap.
	clock uint32
	// sequence is that of the last data packet that was noted, and encrypted whether it was;
	// without hasData there was none. sequencePackets is session.toBackend.Packets then, which
	// wraps: those that pass in the kernel are not noted.
	sequence, sequencePackets uint32
	hasData, encrypted        bool
}

// traceMask has all but one in 64 datagrams go without a look at the trace, which is not in the
// cache.
const traceMask = 63

// note takes the trace of a datagram from the caller.
func (t *trace) note(now time.Duration, packets uint64, p wire.Packet) {
	t.pass(now, packets)
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
	t.clock = p.Timestamp() - micros(now)
}

// pass notes how many datagrams have come by now.
func (t *trace) pass(now time.Duration, packets uint64) {
	if n := uint32(packets) - t.packets; n >= spacingOver {
		took := min(uint64(millis(now)-t.at)*1000, math.MaxUint32)
		t.spacing = uint32(took) / n
		t.at, t.packets = millis(now), uint32(packets)
	}
}

// spacingOver is over how many datagrams the time between them is taken.
const spacingOver = 8

func micros(d time.Duration) uint32 { return uint32(d / time.Microsecond) }

func millis(d time.Duration) uint32 { return uint32(d / time.Millisecond) }

// busy reports whether the caller was sending all the time until its last datagram, so that a
// short silence means something.
func (t *trace) busy(callerSeen time.Duration) bool {
	spacing := time.Duration(t.spacing) * time.Microsecond
	since := time.Duration(int32(millis(callerSeen)-t.at)) * time.Millisecond
	return spacing > 0 && spacing <= busySpacing && since <= max(2*(traceMask+1)*spacing, 2*sweepEvery)
}

// busySpacing is the longest mean time between the datagrams of a caller that sends media or
// gets some, which it acknowledges every 10 ms.
const busySpacing = 40 * time.Millisecond

// verdict says how likely a datagram from another address comes from a session's caller.
type verdict uint8

const (
	implausible verdict = iota
	// plausible: it may be the caller. As it may be somebody who has guessed a timestamp,
	// the old address gets the time to answer for itself.
	plausible
	// strong: moreover a number fits that is hard to guess, and the old address has become
	// silent in the middle of traffic.
	strong
)

const (
	// minMigrationAge is how long a session must have been established.
	minMigrationAge = time.Second
	// keepaliveAfter is the least silence before a KEEPALIVE: a peer sends one when it has
	// sent nothing for a second.
	keepaliveAfter = 900 * time.Millisecond
	// clockTolerance is how far a timestamp may be from what it should be. The clocks of two
	// hosts drift apart by less than one part in clockDrift.
	clockTolerance = time.Second
	clockDrift     = 5000
	// sequenceWindow is how far a sequence number may be from the last one: more than the
	// flow window of libsrt, 25,600 packets, beyond which a sender waits.
	sequenceWindow = 1 << 16
	// numberWindow is how far the number of an ACKACK may be from the last ACK: 80 s of
	// libsrt's ACKs.
	numberWindow = 1 << 13
)

// plausible judges a datagram with the socket ID of session i from another address than its
// caller's. What costs least comes first.
func (s *Shard) plausible(i uint32, ss *session, p wire.Packet) verdict {
	if s.now-ss.establishedAt < minMigrationAge || !mayMigrate(p) {
		return implausible
	}
	t := &s.sessions.cold(i).trace
	if !s.timely(i, ss, t, p) {
		return implausible
	}
	s.refresh(i, ss)
	silent := s.now - s.stalls.extend(ss.callerSeen)
	if silent < s.quiet(ss) || p.Is(wire.TypeKeepalive) && silent < keepaliveAfter {
		return implausible
	}
	numbers := s.numbers(i, ss, t, p)
	if numbers == strong && !t.busy(ss.callerSeen) {
		return plausible
	}
	return numbers
}

// mayMigrate reports whether a datagram is of a kind that moves a session: one that a live
// caller sends by itself. A SHUTDOWN or a handshake never does.
func mayMigrate(p wire.Packet) bool {
	if !p.IsControl() {
		return true
	}
	switch p.Control() {
	case wire.TypeKeepalive, wire.TypeACK, wire.TypeNAK, wire.TypeACKACK:
		return true
	}
	return false
}

// timely reports whether a timestamp is what the caller's clock shows. A data packet has the
// time of when it was first sent, which may be the latency ago.
func (s *Shard) timely(i uint32, ss *session, t *trace, p wire.Packet) bool {
	off := time.Duration(int32(p.Timestamp()-micros(s.now)-t.clock)) * time.Microsecond
	ahead := clockTolerance + (s.now-ss.establishedAt)/clockDrift
	behind := ahead
	if !p.IsControl() {
		behind += time.Duration(s.sessions.cold(i).terms.LatencyToBackend) * time.Millisecond
	}
	return off <= ahead && -off <= behind
}

// numbers judges the sequence number, the key bits or the number of a datagram.
func (s *Shard) numbers(i uint32, ss *session, t *trace, p wire.Packet) verdict {
	down := s.meters.Sequence(&ss.meter, telemetry.ToCaller)
	switch {
	case !p.IsControl():
		return s.dataNumbers(i, ss, t, p)
	case p.Is(wire.TypeACK):
		if a, ok := wire.AsACK(p); !ok || !s.nearDown(ss, &down, a.Next) {
			return implausible
		}
	case p.Is(wire.TypeNAK):
		if first, ok := firstLoss(p); !ok || !s.nearDown(ss, &down, first) {
			return implausible
		}
	case p.Is(wire.TypeACKACK):
		last, known := s.meters.LastACK(&ss.meter, telemetry.ToBackend)
		if off := int32(p.TypeInfo() - last); !known {
			return plausible
		} else if off > numberWindow || off < -numberWindow {
			return implausible
		}
		return strong
	default:
		return plausible
	}
	if s.measures(ss, telemetry.ToCaller) {
		return strong
	}
	return plausible
}

// measures reports whether the meter knows how far the data packets of a way have come.
func (s *Shard) measures(ss *session, way telemetry.Way) bool {
	return s.cfg.Telemetry && s.meters.Measures(&ss.meter, way)
}

// nearDown reports whether a report of the caller is about data packets that it may have got.
func (s *Shard) nearDown(ss *session, down *telemetry.Sequence, seq uint32) bool {
	return !s.measures(ss, telemetry.ToCaller) || near(seq, down.Next, sequenceWindow)
}

// firstLoss returns the first packet that a NAK names; false if it names none, which no peer sends.
func firstLoss(p wire.Packet) (first uint32, ok bool) {
	for first = range p.Losses {
		return first, true
	}
	return 0, false
}

func near(seq, of uint32, within int32) bool {
	d := wire.Ahead(seq&wire.SequenceMask, of)
	return d <= within && d >= -within
}

// dataNumbers judges a data packet: by the last one that was noted and how many have come since,
// and by the meter, which follows them in the kernel path too.
func (s *Shard) dataNumbers(i uint32, ss *session, t *trace, p wire.Packet) verdict {
	last, encrypted := t.sequence, t.encrypted
	if !t.hasData {
		last, encrypted = ss.isn, s.sessions.cold(i).terms.KeyLen != 0
	}
	if encrypted != (p.TypeInfo()&wire.KeyMask != 0) {
		return implausible
	}
	since := int32(min(2*uint64(uint32(ss.toBackend.Packets)-t.sequencePackets), mostSince))
	switch d := wire.Ahead(p.Sequence(), last); {
	case d >= -sequenceWindow && d <= sequenceWindow+min(since, sequenceWindow):
		return strong
	case s.measures(ss, telemetry.ToBackend):
		if near(p.Sequence(), s.meters.Sequence(&ss.meter, telemetry.ToBackend).Next, sequenceWindow) {
			return strong
		}
	case d >= -sequenceWindow && d <= sequenceWindow+since || since == mostSince:
		return plausible // the window is wide by now
	}
	return implausible
}

// mostSince is after how many datagrams, twice, the last noted sequence number says nothing.
const mostSince = 1 << 28

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
)

// append appends the trace as a message.
func (t *trace) append(b []byte, clock message.Clock) []byte {
	origin := clock.Origin
	b = message.AppendUint(b, tracePackets, t.packets)
	b = message.AppendUint(b, traceSpacing, t.spacing)
	b = message.AppendFixed32(b, traceClock, t.clock-micros(origin))
	b = message.AppendFixed32(b, traceSequence, t.sequence)
	b = message.AppendBool(b, traceHasData, t.hasData)
	b = message.AppendBool(b, traceEncrypted, t.encrypted)
	b = message.AppendFixed32(b, traceAt, t.at+millis(origin))
	return message.AppendUint(b, traceSequencePackets, t.sequencePackets)
}

// read reads what append has written.
func (t *trace) read(m message.Reader, clock message.Clock) error {
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
		}
	}
	return m.Err()
}
