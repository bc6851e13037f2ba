package srttest

import (
	"encoding/binary"

	"srtrelay/wire"
)

// Target is what an attacker knows of a session: all that an observer of its datagrams sees.
type Target struct {
	ID        uint32 // to which the caller sends
	Sequence  uint32 // of the caller's next data packet
	ACKed     uint32 // the sequence that the caller acknowledges next
	ACKNumber uint32 // of the last full ACK, about
	Timestamp uint32 // of a packet that is sent now
}

// hijacks are the kinds of Hijack.
const hijacks = 10

// Hijack returns a datagram by which somebody who is not the caller tries to take its session
// over, or to end or damage it: plausible in everything but the address that it will come from.
func (f *Fuzzer) Hijack(t Target) []byte {
	switch f.IntN(hijacks) {
	case 0, 1, 2:
		return f.hijackedData(t)
	case 3:
		return f.hijackedACK(t)
	case 4: // the answer to a challenge, guessed
		number := f.Uint32()
		if f.IntN(2) == 0 {
			number = t.ACKNumber + uint32(f.IntN(16)) - 8
		}
		return f.control(t, wire.TypeACKACK, number, nil)
	case 5:
		return f.control(t, wire.TypeShutdown, 0, padding)
	case 6:
		return f.control(t, wire.TypeKeepalive, 0, padding)
	case 7:
		return f.control(t, wire.TypeNAK, 0, binary.BigEndian.AppendUint32(nil, (t.ACKed-1)&sequenceMask))
	case 8:
		drop := binary.BigEndian.AppendUint32(nil, (t.Sequence-16)&sequenceMask)
		return f.control(t, wire.TypeDropReq, 0, binary.BigEndian.AppendUint32(drop, t.Sequence))
	}
	b := f.Handshake(t.ID)
	wire.Packet(b).SetTimestamp(t.Timestamp)
	return b
}

// hijackedData is a data packet that the session expects next, or soon.
func (f *Fuzzer) hijackedData(t Target) []byte {
	b := f.Bytes(wire.HeaderSize + 1316)
	binary.BigEndian.PutUint32(b, (t.Sequence+uint32(f.IntN(32)))&sequenceMask)
	binary.BigEndian.PutUint32(b[4:], messageSolo|uint32(f.IntN(messageMask)))
	wire.Packet(b).SetTimestamp(t.Timestamp + uint32(f.IntN(2000)))
	wire.Packet(b).SetDestID(t.ID)
	return b
}

// hijackedACK is a full ACK of what the session acknowledges next.
func (f *Fuzzer) hijackedACK(t Target) []byte {
	var cif [fullAckSize - wire.HeaderSize]byte
	for i, v := range [...]uint32{(t.ACKed + uint32(f.IntN(64))) & sequenceMask, defaultRTT, defaultRTTVar, advertisedSpace, 1000, 10000, 1_000_000} {
		binary.BigEndian.PutUint32(cif[4*i:], v)
	}
	return f.control(t, wire.TypeACK, t.ACKNumber+1, cif[:])
}

func (f *Fuzzer) control(t Target, kind wire.ControlType, info uint32, cif []byte) []byte {
	b := make([]byte, wire.HeaderSize, wire.HeaderSize+len(cif))
	wire.PutControl(b, kind, t.Timestamp, t.ID)
	binary.BigEndian.PutUint32(b[4:], info)
	return append(b, cif...)
}
