package telemetry

import (
	"math"
	"time"

	"srtrelay/wire"
)

// control takes an ACK or NAK about this way's media, or an ACKACK or DROPREQ
// that goes with it.
func (r *record) control(now time.Duration, p wire.Packet) {
	switch p.Control() {
	case wire.TypeACK:
		r.ack(now, p)
	case wire.TypeNAK:
		r.NAKs++
		for _, n := range p.Losses {
			if n <= maxGap { // no receiver can miss more than was sent
				r.LostReported += uint64(n)
			}
		}
	case wire.TypeACKACK:
		r.ACKACKs++
		r.acknowledged(now, p.TypeInfo())
	case wire.TypeDropReq:
		r.drop(p)
	}
}

func (r *record) ack(now time.Duration, p wire.Packet) {
	a, ok := wire.AsACK(p)
	if !ok {
		return
	}
	r.ACKs++
	if a.Lite {
		return // nobody answers it, it says nothing but how far
	}
	r.acknowledging(now, p.TypeInfo())
	if !a.Full {
		return
	}
	said := Receiver{
		RTT: a.RTT, RTTVar: a.RTTVar, Buffer: a.Buffer,
		PacketRate: a.PacketRate, Capacity: a.Capacity, ByteRate: a.ByteRate,
	}
	if !said.plausible() {
		if r.lies < math.MaxUint16 {
			r.lies++
		}
		return // whoever lies in one figure lies in all
	}
	r.heard, r.receiver = true, said
}

// drop counts what the sender gives up. It says so again whenever it is asked
// for it, so that only what is new counts.
func (r *record) drop(p wire.Packet) {
	first, n, ok := p.DropRange()
	if !ok || n > maxGap {
		return
	}
	end := (first + n) & wire.SequenceMask
	fresh := n
	if r.dropping {
		d := wire.Ahead(end, r.dropped)
		if d <= 0 && d > -maxGap {
			return
		}
		if d > 0 {
			fresh = min(n, uint32(d))
		}
	}
	r.Dropped += uint64(fresh)
	r.dropped, r.dropping = end, true
}
