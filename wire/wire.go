// Package wire is the SRT packet header and the handshake's control information
// field as views on the bytes of a UDP payload.
//
// It knows layouts and nothing else: no sockets, no state, no clock, no meaning.
// All integers are big-endian unless a name says otherwise, and all offsets
// count from byte 0 of the UDP payload (draft-sharabayko-srt section 3).
package wire

import "encoding/binary"

const (
	// HeaderSize is the length of every SRT header, data and control alike.
	HeaderSize = 16
	// HandshakeSize is the length of a handshake without extensions: the
	// header and the 48 bytes of its control information field.
	HandshakeSize = 64
	// MaxPayload is the largest UDP payload a libsrt peer sends: an MSS of
	// 1500 less the IPv4 and UDP headers.
	MaxPayload = 1472
)

// ControlType is the 15-bit type of a control packet (draft section 3.2).
type ControlType uint16

// The control types that exist on the wire.
const (
	TypeHandshake  ControlType = 0
	TypeKeepalive  ControlType = 1
	TypeACK        ControlType = 2
	TypeNAK        ControlType = 3
	TypeCongestion ControlType = 4
	TypeShutdown   ControlType = 5
	TypeACKACK     ControlType = 6
	TypeDropReq    ControlType = 7
	TypePeerError  ControlType = 8
	TypeUser       ControlType = 0x7FFF
)

const controlBit = 1 << 15

// Packet is a UDP payload of at least HeaderSize bytes. The methods do not
// check the length: the code that makes a Packet does.
type Packet []byte

// IsControl reports whether bit 31 of the first word is set.
func (p Packet) IsControl() bool { return p[0]&0x80 != 0 }

// Control returns the control type; it means nothing for a data packet.
func (p Packet) Control() ControlType {
	return ControlType(binary.BigEndian.Uint16(p) &^ controlBit)
}

// Is reports whether p is a control packet of type t.
func (p Packet) Is(t ControlType) bool {
	return binary.BigEndian.Uint16(p) == controlBit|uint16(t)
}

// Sequence returns the 31-bit sequence number of a data packet.
func (p Packet) Sequence() uint32 { return binary.BigEndian.Uint32(p) & 0x7FFFFFFF }

// TypeInfo returns bytes 4..7: the message word of a data packet, the
// type-specific information of a control packet.
func (p Packet) TypeInfo() uint32 { return binary.BigEndian.Uint32(p[4:]) }

// Timestamp returns the sender's clock in microseconds since its socket's
// start. It wraps every 4295 s.
func (p Packet) Timestamp() uint32 { return binary.BigEndian.Uint32(p[8:]) }

// SetTimestamp writes bytes 8..11.
func (p Packet) SetTimestamp(us uint32) { binary.BigEndian.PutUint32(p[8:], us) }

// DestID returns the destination socket ID; 0 addresses a listener.
func (p Packet) DestID() uint32 { return binary.BigEndian.Uint32(p[12:]) }

// SetDestID writes bytes 12..15.
func (p Packet) SetDestID(id uint32) { binary.BigEndian.PutUint32(p[12:], id) }

// PutControl writes the 16-byte header of a control packet with subtype 0
// and type-specific information 0.
func PutControl(b []byte, t ControlType, timestamp, destID uint32) {
	binary.BigEndian.PutUint16(b, controlBit|uint16(t))
	clear(b[2:8])
	Packet(b).SetTimestamp(timestamp)
	Packet(b).SetDestID(destID)
}

// ShutdownSize is the length of a SHUTDOWN as libsrt sends it: the header and
// four bytes of padding.
const ShutdownSize = 20

// AppendShutdown appends a SHUTDOWN addressed to destID.
func AppendShutdown(b []byte, timestamp, destID uint32) []byte {
	n := len(b)
	b = append(b, make([]byte, ShutdownSize)...)
	PutControl(b[n:], TypeShutdown, timestamp, destID)
	return b
}
