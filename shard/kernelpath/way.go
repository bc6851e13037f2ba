package kernelpath

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"srtrelay/observe/telemetry"
	"srtrelay/wire"
)

// Mode says who relays a way of a session.
type Mode uint32

// The modes. A pending way goes on by itself once user space has offered it.
const (
	Off     = Mode(pathModeMODE_OFF)     // user space relays
	Pending = Mode(pathModeMODE_PENDING) // user space, until what is under way has been sent
	On      = Mode(pathModeMODE_ON)      // the kernel relays
)

// Way is one way of a session, in memory that is shared with the program. While the way is
// on only the program writes it, otherwise only the session's shard.
type Way struct {
	shared   *pathWay
	handover *pathHandover
	clock    uint64
}

// Way returns a way of the session at a place of the shard; ways count from 0 as in
// package telemetry.
func (s *Shard) Way(place uint32, way int) Way {
	at := 2*(s.base+place) + uint32(way)
	return Way{&s.path.memory.ways[at], &s.path.memory.handovers[at], s.path.clock}
}

// Passed is a copy of a way's counters.
type Passed struct {
	Packets uint32 // wraps
	// Lost counts the records for which the ring had no space; it wraps.
	Lost  uint32
	Bytes uint64 // of whole datagrams
}

// Mode returns who relays the way at present.
func (w Way) Mode() Mode { return Mode(atomic.LoadUint32(&w.shared.Mode)) }

// SetOff has user space relay the way from the next datagram on.
func (w Way) SetOff() { atomic.StoreUint32(&w.shared.Mode, uint32(Off)) }

// SetPending begins to hand the way over to the kernel.
func (w Way) SetPending() {
	w.restart()
	atomic.StoreUint32(&w.shared.Mode, uint32(Pending))
}

// reset begins the way of another session.
func (w Way) reset(gen uint32) {
	round := atomic.LoadUint32(&w.handover.Round)
	*w.shared = pathWay{Mode: uint32(Off)}
	*w.handover = pathHandover{Ready: neverReady, Round: round}
	atomic.StoreUint32(&w.shared.Gen, gen)
}

// Passed returns the counters.
func (w Way) Passed() Passed {
	return Passed{
		Packets: atomic.LoadUint32(&w.shared.Packets), Bytes: atomic.LoadUint64(&w.shared.Bytes),
		Lost: atomic.LoadUint32(&w.shared.Lost),
	}
}

// Last returns when the last datagram passed, 0 for never. Its clock steps by up to 10 ms
// (CLOCK_MONOTONIC_COARSE).
func (w Way) Last() time.Duration { return w.loopTime(&w.shared.Last) }

// LastData returns when the last data packet passed, by the clock of Last; 0 for never.
func (w Way) LastData() time.Duration { return w.loopTime(&w.shared.LastData) }

// loopTime reads a time of the program; 0 stays 0.
func (w Way) loopTime(at *uint64) time.Duration {
	if ns := atomic.LoadUint64(at); ns != 0 {
		return time.Duration(ns - w.clock)
	}
	return 0
}

// Data returns how far the data packets have come that the program has taken no record
// of: the sequence number after the newest, the bytes of their payloads in all, and when
// the last data packet passed. exceptions is how many records of others are in the ring
// or have been read, which is to be done first; it wraps.
func (w Way) Data() (next uint32, bytes uint64, last time.Duration, exceptions uint32) {
	for {
		exceptions = atomic.LoadUint32(&w.shared.Exceptions)
		next, bytes = atomic.LoadUint32(&w.shared.Next), atomic.LoadUint64(&w.shared.DataBytes)
		last = w.LastData()
		if atomic.LoadUint32(&w.shared.Exceptions) == exceptions {
			return next, bytes, last, exceptions
		}
	}
}

// SetSequence tells the program how far the data packets have come, and whether user space
// wants records. The way must not be on.
func (w Way) SetSequence(q telemetry.Sequence, observed bool) {
	atomic.StoreUint32(&w.shared.Next, q.Next)
	atomic.StoreUint32(&w.shared.Expect, q.Expect)
	w.shared.Strays, w.shared.Rexmit, w.shared.Observed = q.Strays, bit(q.Rexmit), bit(observed)
}

func bit(yes bool) uint8 {
	if yes {
		return 1
	}
	return 0
}

// neverReady is no value of pathHandover.Ready: no round has as many datagrams.
const neverReady = math.MaxUint64

// Handover counts what user space has sent of a pending way. The program has marked a
// datagram that went up, and counts from it on. When user space has sent as many from the
// marked one on, nothing is under way, and it offers the way to the program. That takes
// the next datagram, unless others have gone up meanwhile: then user space offers it again.
type Handover struct {
	round   uint32 // the program's mark that this is about
	sent    uint32 // from the marked datagram on
	found   bool   // the marked datagram has been sent
	offered bool   // nothing has gone up since the last offer
	seen    bool   // the program had marked a datagram before this mark
}

// Begin begins with a session that has entered.
func (h *Handover) Begin(w Way) { *h = Handover{round: atomic.LoadUint32(&w.handover.Round)} }

// Seen reports whether the program has seen a datagram of the way since the session entered:
// then its sender has the address that the program expects.
func (h *Handover) Seen(w Way) bool { return h.seen || h.Fresh(w) || w.Mode() == On }

// Sent counts a datagram that user space is about to send on a way that is not on.
func (h *Handover) Sent(w Way, p wire.Packet) {
	if round := atomic.LoadUint32(&w.handover.Round); round != h.round {
		*h = Handover{round: round, seen: true}
	}
	h.offered = false
	switch {
	case h.found:
		h.sent++
	case atomic.LoadUint32(&w.handover.Marked) != 0 && w.handover.Mark == words(p):
		h.found, h.sent = true, 1
	}
}

// words returns the first words of a datagram's header; the last one is the same in all of
// a way.
func words(p wire.Packet) [3]uint32 {
	return [3]uint32{binary.BigEndian.Uint32(p), p.TypeInfo(), p.Timestamp()}
}

// Fresh reports whether the program has marked a datagram that Sent has not been told of.
func (h *Handover) Fresh(w Way) bool { return atomic.LoadUint32(&w.handover.Round) != h.round }

// Complete reports whether user space has sent all that went up. What was counted must
// have been sent.
func (h *Handover) Complete(w Way) bool {
	return h.found && h.round == atomic.LoadUint32(&w.handover.Round) && h.sent == atomic.LoadUint32(&w.handover.Up)
}

// PassedBy reports whether user space has sent more than went up: datagrams have come that the
// program has not seen. The way must be pending, and not offered since the last Sent.
func (h *Handover) PassedBy(w Way) bool { return h.found && h.sent > atomic.LoadUint32(&w.handover.Up) }

// Due reports whether the marked datagram has been sent, and the way was not offered since.
func (h *Handover) Due() bool { return h.found && !h.offered }

// Offer has the program take the way after what was sent.
func (h *Handover) Offer(w Way) {
	h.offered = true
	atomic.StoreUint64(&w.handover.Ready, uint64(h.round)<<32|uint64(h.sent))
}

// Restart begins the handover anew with the next datagram: one that went up was lost.
func (h *Handover) Restart(w Way) {
	h.found = false
	w.restart()
}

// restart voids the mark.
func (w Way) restart() {
	atomic.StoreUint64(&w.handover.Ready, neverReady)
	atomic.StoreUint32(&w.handover.Marked, 0)
}
