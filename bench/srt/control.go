package srt

import (
	"encoding/binary"

	"srtrelay/wire"
)

const (
	// ACKSize is a full ACK: seven words behind the header.
	ACKSize = wire.HeaderSize + 28
	// PaddedSize is a control packet without content as libsrt sends it: the
	// header and four bytes that mean nothing.
	PaddedSize = wire.HeaderSize + 4
	// MaxControl is the longest packet that this file writes.
	MaxControl = ACKSize
)

// What a receiver in a local network reports, as with libsrt.
const (
	rtt        = 1000  // µs
	rttVar     = 500   // µs
	freeBuffer = 8189  // packets
	packetRate = 600   // per second
	capacity   = 1000  // packets per second
	byteRate   = 790e3 // per second
)

// PutACK writes a full ACK into b: number is the ACK's own, next the first
// sequence number not received. It returns the packet.
func PutACK(b []byte, destID, timestamp, number, next uint32) []byte {
	b = b[:ACKSize]
	put(b, wire.TypeACK, destID, timestamp, number)
	for i, word := range [...]uint32{next, rtt, rttVar, freeBuffer, packetRate, capacity, byteRate} {
		binary.BigEndian.PutUint32(b[wire.HeaderSize+4*i:], word)
	}
	return b
}

// PutACKACK answers the ACK of this number.
func PutACKACK(b []byte, destID, timestamp, number uint32) []byte {
	return padded(b, wire.TypeACKACK, destID, timestamp, number)
}

// PutKeepalive writes a KEEPALIVE.
func PutKeepalive(b []byte, destID, timestamp uint32) []byte {
	return padded(b, wire.TypeKeepalive, destID, timestamp, 0)
}

// PutShutdown writes a SHUTDOWN.
func PutShutdown(b []byte, destID, timestamp uint32) []byte {
	return padded(b, wire.TypeShutdown, destID, timestamp, 0)
}

// PutNAK reports the sequence numbers from first to last, both included, as
// lost.
func PutNAK(b []byte, destID, timestamp, first, last uint32) []byte {
	n := wire.HeaderSize + 4
	if first == last {
		b = b[:n]
		binary.BigEndian.PutUint32(b[wire.HeaderSize:], first)
	} else {
		b = b[:n+4]
		binary.BigEndian.PutUint32(b[wire.HeaderSize:], first|1<<31)
		binary.BigEndian.PutUint32(b[n:], last)
	}
	put(b, wire.TypeNAK, destID, timestamp, 0)
	return b
}

func padded(b []byte, t wire.ControlType, destID, timestamp, number uint32) []byte {
	b = b[:PaddedSize]
	put(b, t, destID, timestamp, number)
	binary.BigEndian.PutUint32(b[wire.HeaderSize:], 0)
	return b
}

// put writes the header. The type-specific word comes last: PutControl
// clears it.
func put(b []byte, t wire.ControlType, destID, timestamp, number uint32) {
	wire.PutControl(b, t, timestamp, destID)
	binary.BigEndian.PutUint32(b[4:], number)
}
