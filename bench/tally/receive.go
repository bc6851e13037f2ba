package tally

import (
	"srtrelay/bench/srt"
	"srtrelay/wire"
)

// Receiver is the receiving half of one session. It belongs to its session.
type Receiver struct {
	check srt.Check
	acks  srt.ACKs
}

// NewReceiver returns a receiver that expects the initial sequence number and makes an ACK per
// ackEvery data packets. The socket ID decides when the first is due.
func NewReceiver(isn, id uint32, ackEvery uint8) Receiver {
	return Receiver{check: srt.NewCheck(isn), acks: srt.NewACKs(id, ackEvery)}
}

// Due is what a receiver must send after a data packet.
type Due struct {
	NAK         bool
	First, Last uint32 // lost sequence numbers, for the NAK
	ACK         bool
	Number      uint32 // of the ACK
	Next        uint32 // sequence number that the ACK names
}

// ReceiveData counts a data packet that came at a time in ns.
func (b *Book) ReceiveData(r *Receiver, p wire.Packet, at int64) (due Due) {
	b.Received.Add(Data, len(p))
	due.First = r.check.Next()
	verdict, missing := r.check.See(p.Sequence())
	b.See(verdict, missing)
	if stamp, ok := srt.ReadStamp(p); ok {
		b.Latency(at - stamp.Sent)
	}
	due.NAK, due.Last = verdict == srt.Gap, (due.First+missing-1)&srt.MaxSequence
	due.Number, due.ACK = r.acks.Count()
	due.Next = r.check.Next()
	return due
}

// ReceiveControl counts a control packet of a session. An ACK with a number
// wants an ACKACK with the same one; a light ACK has number 0 and wants none.
func (b *Book) ReceiveControl(p wire.Packet) (ackack uint32) {
	kind := Other
	switch p.Control() {
	case wire.TypeACK:
		kind, ackack = ACK, p.TypeInfo()
	case wire.TypeACKACK:
		kind = ACKACK
	case wire.TypeNAK:
		kind = NAK
	case wire.TypeKeepalive:
		kind = Keepalive
	}
	b.Received.Add(kind, len(p))
	return ackack
}
