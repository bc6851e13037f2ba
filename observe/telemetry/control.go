package telemetry

import (
	"math"
	"time"

	"srtrelay/wire"
)

// control handles an ACK or NAK about this way's media, or an ACKACK or DROPREQ of its
// sender.
func (r *record) control(now time.Duration, p wire.Packet) {
	switch p.Control() {
	case wire.TypeACK:
		r.ack(now, p)
	case wire.TypeNAK:
		r.NAKs++
		for _, n := range p.Losses {
			if n <= maxGap { // more was never in flight
				r.LostReported += uint64(n)
			}
		}
	case wire.TypeACKACK:
		r.ACKACKs++
		r.ackackReceived(now, p.TypeInfo())
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
		return // it has no ACKACK, and no content but a sequence number
	}
	r.ackForwarded(now, p.TypeInfo())
	if !a.Full {
		return
	}
	report := Receiver{
		RTT: a.RTT, RTTVar: a.RTTVar, Buffer: a.Buffer,
		PacketRate: a.PacketRate, Capacity: a.Capacity, ByteRate: a.ByteRate,
	}
	if !report.plausible() {
		if r.implausible < math.MaxUint16 {
			r.implausible++
		}
		return // if one value is wrong, none can be trusted
	}
	r.hasReceiver, r.receiver = true, report
}

// drop counts the packets that the sender gives up. The sender repeats a DROPREQ for each
// NAK, so only new packets count.
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
