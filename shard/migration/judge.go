// Package migration decides whether a datagram from another address comes from a session's caller
// (ADR 24).
//
// A Trace says what the caller's datagrams look like, and Judge compares a datagram with it. A
// Candidate is an address that may be the caller's: it proves that by its answer to a challenge.
// Limiter limits how many datagrams from such addresses a shard looks at.
//
// It must not know what a shard is, send anything, nor read a clock: times are the shard's.
package migration

import (
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// Verdict says how likely a datagram from another address comes from a session's caller.
type Verdict uint8

// Verdicts.
const (
	Implausible Verdict = iota
	// Deferred: the datagram would be Strong if the old address had been silent for long
	// enough. The challenge waits for that.
	Deferred
	// Plausible: it may be the caller. As it may be somebody who has guessed a timestamp,
	// the old address gets the time to answer for itself.
	Plausible
	// Strong: moreover a number fits that is hard to guess, and the old address has become
	// silent in the middle of traffic.
	Strong
)

const (
	// minAge is how long a session must have been established.
	minAge = time.Second
	// keepaliveAfter is the least silence before a KEEPALIVE: a peer sends one when it has
	// sent nothing for a second.
	keepaliveAfter = 900 * time.Millisecond
	// clockTolerance is how far a timestamp may be from what it should be. The clocks of two
	// hosts drift apart by less than one part in clockDrift, 500 ppm, since the caller's was
	// last seen. maxClockDrift bounds that: the tolerance of both sides is less than a
	// thirtieth of the 71 minutes after which timestamps wrap.
	clockTolerance = time.Second
	clockDrift     = 2000
	maxClockDrift  = time.Minute
	// sequenceWindow is how far a sequence number may be from the last one: more than the
	// flow window of libsrt, 25,600 packets, beyond which a sender waits.
	sequenceWindow = 1 << 16
	// numberWindow is how far the number of an ACKACK may be from the last ACK: 80 s of
	// libsrt's ACKs.
	numberWindow = 1 << 13
	// mostSince is after how many datagrams, twice, the last noted sequence number says
	// nothing.
	mostSince = 1 << 28
	// minQuiet and maxQuiet bound Quiet.
	minQuiet = 100 * time.Millisecond
	maxQuiet = time.Second
)

// Quiet returns how long the old address must have been silent, by the caller's round trip time.
func Quiet(rtt time.Duration) time.Duration { return min(max(2*rtt, minQuiet), maxQuiet) }

// Session is what is known of a session besides its trace.
type Session struct {
	CallerSeen time.Duration // when the last datagram came from the old address
	Silent     time.Duration // how long it has been silent, but for stalls of the shard
	Quiet      time.Duration // see Quiet
	Packets    uint64        // from the caller so far
	ISN        uint32
	Encrypted  bool // by the handshake
	// Measured says, by way, whether the meter knows how far the data packets have come. Next
	// is the sequence number after the newest.
	Measured [2]bool
	Next     [2]uint32
	// LastACK is the number of the last ACK that the caller got, if HasACK.
	LastACK uint32
	HasACK  bool
}

// Timely reports whether a datagram is of a kind that moves a session, and its timestamp is what
// the caller's clock shows. A data packet has the time of when it was first sent, which may be the
// latency ago. It costs little, and comes before Judge.
func (t *Trace) Timely(p wire.Packet, now, establishedAt time.Duration, terms *telemetry.Terms) bool {
	if now-establishedAt < minAge || !mayMove(p) {
		return false
	}
	off := time.Duration(int32(p.Timestamp()-micros(now)-t.clock)) * time.Microsecond
	ahead := clockTolerance + min(t.clockAge(now)/clockDrift, maxClockDrift)
	behind := ahead
	if !p.IsControl() {
		behind += time.Duration(terms.LatencyToBackend) * time.Millisecond
	}
	return off <= ahead && -off <= behind
}

// mayMove reports whether a datagram is of a kind that moves a session: one that a live
// caller sends by itself. A SHUTDOWN or a handshake never does.
func mayMove(p wire.Packet) bool {
	if !p.IsControl() {
		return true
	}
	switch p.Control() {
	case wire.TypeKeepalive, wire.TypeACK, wire.TypeNAK, wire.TypeACKACK:
		return true
	}
	return false
}

// Judge judges a timely datagram with the session's socket ID from another address than its
// caller's.
func (t *Trace) Judge(p wire.Packet, s *Session) Verdict {
	verdict := t.numbers(p, s)
	if verdict == Strong && !t.busy(s.CallerSeen) {
		verdict = Plausible
	}
	if s.Silent < s.Quiet || p.Is(wire.TypeKeepalive) && s.Silent < keepaliveAfter {
		if verdict == Strong {
			return Deferred
		}
		return Implausible
	}
	return verdict
}

// numbers judges the sequence number, the key bits or the number of a datagram.
func (t *Trace) numbers(p wire.Packet, s *Session) Verdict {
	switch {
	case !p.IsControl():
		return t.dataNumbers(p, s)
	case p.Is(wire.TypeACK):
		if a, ok := wire.AsACK(p); !ok || !s.nearDown(a.Next) {
			return Implausible
		}
	case p.Is(wire.TypeNAK):
		if first, ok := firstLoss(p); !ok || !s.nearDown(first) {
			return Implausible
		}
	case p.Is(wire.TypeACKACK):
		if off := int32(p.TypeInfo() - s.LastACK); !s.HasACK {
			return Plausible
		} else if off > numberWindow || off < -numberWindow {
			return Implausible
		}
		return Strong
	default:
		return Plausible
	}
	if s.Measured[telemetry.ToCaller] {
		return Strong
	}
	return Plausible
}

// nearDown reports whether a report of the caller is about data packets that it may have got.
func (s *Session) nearDown(seq uint32) bool {
	return !s.Measured[telemetry.ToCaller] || near(seq, s.Next[telemetry.ToCaller], sequenceWindow)
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
func (t *Trace) dataNumbers(p wire.Packet, s *Session) Verdict {
	last, encrypted := t.sequence, t.encrypted
	if !t.hasData {
		last, encrypted = s.ISN, s.Encrypted
	}
	if encrypted != (p.TypeInfo()&wire.KeyMask != 0) {
		return Implausible
	}
	since := int32(min(2*uint64(uint32(s.Packets)-t.sequencePackets), mostSince))
	switch d := wire.Ahead(p.Sequence(), last); {
	case d >= -sequenceWindow && d <= sequenceWindow+min(since, sequenceWindow):
		return Strong
	case s.Measured[telemetry.ToBackend]:
		if near(p.Sequence(), s.Next[telemetry.ToBackend], sequenceWindow) {
			return Strong
		}
	case d >= -sequenceWindow && d <= sequenceWindow+since || since == mostSince:
		return Plausible // the window is wide by now
	}
	return Implausible
}
