package wire

import (
	"encoding/binary"
	"net/netip"
)

// HandshakeType is the Handshake Type field (draft section 3.2.1). Values from
// RejectBase on are rejections: RejectBase plus the API's reject code.
type HandshakeType uint32

// Handshake types and the first rejection code.
const (
	HandshakeWaveAHand  HandshakeType = 0
	HandshakeInduction  HandshakeType = 1
	HandshakeConclusion HandshakeType = 0xFFFFFFFF
	HandshakeAgreement  HandshakeType = 0xFFFFFFFE
	HandshakeDone       HandshakeType = 0xFFFFFFFD
	RejectBase          HandshakeType = 1000
)

// IsRejection reports whether t carries a rejection code. Types are signed on
// the wire: the all-ones values are handshake phases.
func (t HandshakeType) IsRejection() bool { return int32(t) >= int32(RejectBase) }

const (
	// MagicCode in the extension field of an INDUCTION reply announces HSv5.
	MagicCode = 0x4A17
	// UDTDgram is the socket type that every caller's INDUCTION and every
	// HSv4 CONCLUSION carry in the extension field.
	UDTDgram = 2
)

// Flags of the extension field of an HSv5 CONCLUSION (draft table 5).
const (
	FlagHSReq  = 1
	FlagKMReq  = 2
	FlagConfig = 4
)

// Handshake is a handshake packet of at least HandshakeSize bytes. The methods
// do not check the length; AsHandshake does.
type Handshake []byte

// AsHandshake returns b as a handshake. It is false for data, for other
// control types, for a subtype, and for fewer than HandshakeSize bytes.
func AsHandshake(b []byte) (Handshake, bool) {
	if len(b) < HandshakeSize || binary.BigEndian.Uint32(b) != 1<<31 {
		return nil, false
	}
	return Handshake(b), true
}

// Packet returns the same bytes as a packet.
func (h Handshake) Packet() Packet { return Packet(h) }

// Version is 4 in every caller's INDUCTION, 5 in a listener's reply and in an
// HSv5 CONCLUSION.
func (h Handshake) Version() uint32 { return binary.BigEndian.Uint32(h[16:]) }

// SetVersion writes the version.
func (h Handshake) SetVersion(v uint32) { binary.BigEndian.PutUint32(h[16:], v) }

// Encryption is the advertised key length in units of 8 bytes: 0 for none
// advertised, 2, 3 or 4 for AES-128, 192 or 256.
func (h Handshake) Encryption() uint16 { return binary.BigEndian.Uint16(h[20:]) }

// SetEncryption writes the encryption field.
func (h Handshake) SetEncryption(v uint16) { binary.BigEndian.PutUint16(h[20:], v) }

// Extension is the extension field: UDTDgram, MagicCode or the Flag bits.
func (h Handshake) Extension() uint16 { return binary.BigEndian.Uint16(h[22:]) }

// SetExtension writes the extension field.
func (h Handshake) SetExtension(v uint16) { binary.BigEndian.PutUint16(h[22:], v) }

// ISN is the initial sequence number.
func (h Handshake) ISN() uint32 { return binary.BigEndian.Uint32(h[24:]) }

// SetISN writes the initial sequence number.
func (h Handshake) SetISN(v uint32) { binary.BigEndian.PutUint32(h[24:], v) }

// MSS is the maximum packet size in bytes, IP and UDP headers included.
func (h Handshake) MSS() uint32 { return binary.BigEndian.Uint32(h[28:]) }

// SetMSS writes the maximum packet size.
func (h Handshake) SetMSS(v uint32) { binary.BigEndian.PutUint32(h[28:], v) }

// FlowWindow is the maximum flow window in packets.
func (h Handshake) FlowWindow() uint32 { return binary.BigEndian.Uint32(h[32:]) }

// SetFlowWindow writes the flow window.
func (h Handshake) SetFlowWindow(v uint32) { binary.BigEndian.PutUint32(h[32:], v) }

// Type is the handshake's phase, or a rejection.
func (h Handshake) Type() HandshakeType {
	return HandshakeType(binary.BigEndian.Uint32(h[36:]))
}

// SetType writes the handshake type.
func (h Handshake) SetType(t HandshakeType) { binary.BigEndian.PutUint32(h[36:], uint32(t)) }

// SocketID is the packet sender's own socket ID, except in an INDUCTION reply,
// which echoes the caller's.
func (h Handshake) SocketID() uint32 { return binary.BigEndian.Uint32(h[40:]) }

// SetSocketID writes the socket ID of the control information field.
func (h Handshake) SetSocketID(id uint32) { binary.BigEndian.PutUint32(h[40:], id) }

// Cookie is the SYN cookie.
func (h Handshake) Cookie() uint32 { return binary.BigEndian.Uint32(h[44:]) }

// SetCookie writes the SYN cookie.
func (h Handshake) SetCookie(c uint32) { binary.BigEndian.PutUint32(h[44:], c) }

const peerIPOffset, peerIPSize = 48, 16

// SetPeerIP writes ip in libsrt's form: each 4-byte word byte-reversed, IPv4 in
// the first word and zeros behind it. An IPv4-mapped address is written as
// IPv4.
func (h Handshake) SetPeerIP(ip netip.Addr) {
	field := h[peerIPOffset : peerIPOffset+peerIPSize]
	clear(field)
	if ip = ip.Unmap(); ip.Is4() {
		b := ip.As4()
		copy(field, b[:])
		reverseWords(field[:4])
		return
	}
	b := ip.As16()
	copy(field, b[:])
	reverseWords(field)
}

// PeerIP reads what SetPeerIP writes.
func (h Handshake) PeerIP() netip.Addr {
	var b [peerIPSize]byte
	copy(b[:], h[peerIPOffset:])
	reverseWords(b[:])
	if [12]byte(b[4:]) == [12]byte{} {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16(b)
}

// reverseWords reverses every 4-byte word of b in place; len(b) is a multiple
// of 4.
func reverseWords(b []byte) {
	for i := 0; i+4 <= len(b); i += 4 {
		b[i], b[i+1], b[i+2], b[i+3] = b[i+3], b[i+2], b[i+1], b[i]
	}
}
