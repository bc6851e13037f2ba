package srt

import (
	"encoding/binary"

	"srtrelay/wire"
)

const (
	// PayloadSize is what live mode puts into a datagram: seven packets of an
	// MPEG transport stream.
	PayloadSize = 7 * 188
	// DataSize is a whole data packet, header included.
	DataSize = wire.HeaderSize + PayloadSize
	// MaxSequence is the highest sequence number; the next is 0.
	MaxSequence = 1<<31 - 1

	// SentOffset is where in a data packet Stamp.Sent stands.
	SentOffset = wire.HeaderSize + 16

	// solo marks a message of one packet, in clear, sent for the first time.
	solo       = 3 << 30
	maxMessage = 1<<26 - 1
	// stampMagic distinguishes the bench's payloads from those of real streams. Its first
	// byte is the one that a transport stream begins with.
	stampMagic = 0x47_53_52_54
)

// Stamp is what a data packet's payload begins with.
type Stamp struct {
	Session uint32 // number at its sender, to find a packet in a capture
	Index   uint64 // of the packet in its session, from 0
	Sent    int64  // CLOCK_MONOTONIC at the send call, in ns
	Due     int64  // when the schedule wanted it to be sent
}

// Source is the sending half of a session: it numbers data packets. It
// belongs to its session.
type Source struct {
	next    uint32 // sequence number
	message uint32 // number of the last message, 0 before the first
	sent    uint64
}

// NewSource begins at an initial sequence number.
func NewSource(isn uint32) Source { return Source{next: isn & MaxSequence} }

// Next is the sequence number of the next packet.
func (s *Source) Next() uint32 { return s.next }

// Sent is how many packets there were.
func (s *Source) Sent() uint64 { return s.sent }

// Put writes the next data packet's header and stamp into b, of DataSize
// bytes, and leaves the rest of the payload as it is. If the time of sending is known
// later, it is written at SentOffset.
func (s *Source) Put(b []byte, destID, timestamp, session uint32, sent, due int64) {
	_ = b[wire.HeaderSize+36]
	// Message number 0 would be a packet of the packet filter.
	if s.message++; s.message > maxMessage {
		s.message = 1
	}
	binary.BigEndian.PutUint32(b, s.next)
	binary.BigEndian.PutUint32(b[4:], solo|s.message)
	binary.BigEndian.PutUint32(b[8:], timestamp)
	binary.BigEndian.PutUint32(b[12:], destID)
	p := b[wire.HeaderSize:]
	binary.BigEndian.PutUint32(p, stampMagic)
	binary.BigEndian.PutUint32(p[4:], session)
	binary.BigEndian.PutUint64(p[8:], s.sent)
	binary.BigEndian.PutUint64(p[16:], uint64(sent))
	binary.BigEndian.PutUint64(p[24:], uint64(due))
	s.next = (s.next + 1) & MaxSequence
	s.sent++
}

// ReadStamp reads a data packet's stamp; false if it has none.
func ReadStamp(b []byte) (s Stamp, ok bool) {
	if len(b) < wire.HeaderSize+32 || binary.BigEndian.Uint32(b[wire.HeaderSize:]) != stampMagic {
		return s, false
	}
	p := b[wire.HeaderSize:]
	return Stamp{
		Session: binary.BigEndian.Uint32(p[4:]),
		Index:   binary.BigEndian.Uint64(p[8:]),
		Sent:    int64(binary.BigEndian.Uint64(p[16:])),
		Due:     int64(binary.BigEndian.Uint64(p[24:])),
	}, true
}
