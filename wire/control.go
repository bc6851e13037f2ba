package wire

import "encoding/binary"

// Subtypes of TypeUser: the handshake extensions that travel by themselves,
// HSv4's and the refresh of keys (draft section 3.2.1.2).
const (
	SubtypeHSReq = 1
	SubtypeHSRsp = 2
	SubtypeKMReq = 3
	SubtypeKMRsp = 4
)

// Subtype returns the 16-bit subtype of a control packet.
func (p Packet) Subtype() uint16 { return binary.BigEndian.Uint16(p[2:]) }

// Bits of a data packet's message word (draft section 3.1).
const (
	// MessageMask holds the message number. 0 marks a packet of the packet
	// filter (FEC), whose sequence number belongs to another one.
	MessageMask = 1<<26 - 1
	// RexmitBit marks a retransmission, between peers of which the receiver
	// has announced FlagRexmit; otherwise it belongs to the message number.
	RexmitBit = 1 << 26
	// KeyMask holds which key encrypts the payload: 0 none, 1 even, 2 odd.
	KeyMask  = 3 << KeyShift
	KeyShift = 27
)

// Flags of Features.
const (
	FlagRexmit = 0x20
)

// SequenceMask holds the 31 bits of a sequence number.
const SequenceMask = 1<<31 - 1

// Ahead returns how far a sequence number is ahead of another, negative when
// it is behind: the shorter way around the circle of 2^31.
func Ahead(seq, of uint32) int32 { return int32((seq-of)<<1) >> 1 }

// ACK is the control information field of an ACK, as far as it is present: a lite
// ACK has only the first word, a small one has no rates.
type ACK struct {
	Next                    uint32 // the first sequence number not received
	RTT, RTTVar             uint32 // microseconds
	Buffer                  uint32 // packets that the receiver has room for
	PacketRate              uint32 // packets per second
	Capacity                uint32 // estimated, packets per second
	ByteRate                uint32 // bytes per second; missing from peers before 1.0.2
	Lite, Full, HasByteRate bool
}

// Lengths of an ACK's control information field, in bytes (libsrt ACKD_*).
const (
	ackLite  = 4
	ackSmall = 16
	ackFull  = 24
	ackRate  = 28
)

// AsACK reads an ACK. ok is false for one shorter than a lite ACK; a length between
// two of the known ones counts as the shorter.
func AsACK(p Packet) (a ACK, ok bool) {
	b := p[HeaderSize:]
	if len(b) < ackLite {
		return a, false
	}
	a.Next = binary.BigEndian.Uint32(b)
	if a.Lite = len(b) < ackSmall; a.Lite {
		return a, true
	}
	a.RTT = binary.BigEndian.Uint32(b[4:])
	a.RTTVar = binary.BigEndian.Uint32(b[8:])
	a.Buffer = binary.BigEndian.Uint32(b[12:])
	if a.Full = len(b) >= ackFull; a.Full {
		a.PacketRate = binary.BigEndian.Uint32(b[16:])
		a.Capacity = binary.BigEndian.Uint32(b[20:])
	}
	if a.HasByteRate = len(b) >= ackRate; a.HasByteRate {
		a.ByteRate = binary.BigEndian.Uint32(b[24:])
	}
	return a, true
}

// Losses iterates over the ranges of a NAK's loss list: the first sequence
// number of each and how many it has. It stops at the first invalid range, one
// without its end or one that ends before it begins.
func (p Packet) Losses(yield func(first, n uint32) bool) {
	for b := p[HeaderSize:]; len(b) >= 4; b = b[4:] {
		first, n := binary.BigEndian.Uint32(b), uint32(1)
		if first&^SequenceMask != 0 {
			if b = b[4:]; len(b) < 4 {
				return
			}
			first &= SequenceMask
			last := binary.BigEndian.Uint32(b)
			if last&^SequenceMask != 0 || Ahead(last, first) < 0 {
				return
			}
			n = uint32(Ahead(last, first)) + 1
		}
		if !yield(first, n) {
			return
		}
	}
}

// DropRange reads the sequence numbers that a DROPREQ gives up: the first and
// how many.
func (p Packet) DropRange() (first, n uint32, ok bool) {
	b := p[HeaderSize:]
	if len(b) < 8 {
		return 0, 0, false
	}
	first = binary.BigEndian.Uint32(b) & SequenceMask
	d := Ahead(binary.BigEndian.Uint32(b[4:])&SequenceMask, first)
	return first, uint32(d) + 1, d >= 0
}

// ACKSize is the length of a full ACK as libsrt sends it.
const ACKSize = HeaderSize + ackRate

// AppendACK appends a full ACK with a number, which its ACKACK repeats.
func AppendACK(b []byte, number, timestamp, destID uint32, a ACK) []byte {
	n := len(b)
	b = append(b, make([]byte, HeaderSize)...)
	PutControl(b[n:], TypeACK, timestamp, destID)
	binary.BigEndian.PutUint32(b[n+4:], number)
	for _, word := range [...]uint32{a.Next, a.RTT, a.RTTVar, a.Buffer, a.PacketRate, a.Capacity, a.ByteRate} {
		b = binary.BigEndian.AppendUint32(b, word)
	}
	return b
}
