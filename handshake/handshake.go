// Package handshake is the relay's part in SRT's handshake, without sockets
// and without a clock: datagrams and the present time are its input, datagrams
// and a decision its output.
//
// A caller's INDUCTION is answered without state (CookieGenerator,
// AppendInductionReply). Its CONCLUSION is parsed (ParseConclusion; package
// streamid interprets the stream ID), kept, and sent to a backend by a
// BackendLeg: the relay's own handshake with the backend, with its retries and
// its deadline. A Replay repeats the answer to the caller.
//
// Whether a datagram of a caller is answered at all, package shard decides
// (callerhandshake.go, admission.go).
//
// It must not know sessions, tables or how a backend is chosen.
//
// Times are durations since an origin that the owner chooses; they never run
// backwards.
package handshake

import (
	"net/netip"

	"srtrelay/wire"
)

// AppendInductionReply appends the 64-byte answer to a caller's INDUCTION. It
// keeps the caller's ISN, MSS, window and socket ID, as libsrt does, and
// advertises keyLen (0, 2, 3 or 4): a caller with a passphrase but no key
// length of its own adopts it.
func AppendInductionReply(b []byte, req wire.Handshake, cookie uint32, keyLen uint16, caller netip.Addr) []byte {
	n := len(b)
	b = append(b, req[:wire.HandshakeSize]...)
	h := wire.Handshake(b[n:])
	h.Packet().SetDestID(req.SocketID())
	h.SetVersion(5)
	h.SetEncryption(keyLen)
	h.SetExtension(wire.MagicCode)
	h.SetType(wire.HandshakeInduction)
	h.SetCookie(cookie)
	h.SetPeerIP(caller)
	return b
}

// AppendRejection appends the 64-byte rejection of req. As with libsrt it is
// addressed to the caller's socket and otherwise repeats the request.
func AppendRejection(b []byte, req wire.Handshake, code Code) []byte {
	n := len(b)
	b = append(b, req[:wire.HandshakeSize]...)
	h := wire.Handshake(b[n:])
	h.Packet().SetDestID(req.SocketID())
	h.SetType(wire.HandshakeType(code))
	return b
}

// AppendInduction appends an INDUCTION such as a caller sends: version 4, the
// datagram socket type, destination 0. Its ISN is the nonce, which a listener
// echoes and an ICMP error quotes: who returns it has seen the datagram.
func AppendInduction(b []byte, socketID uint32, nonce Nonce, peer netip.Addr) []byte {
	n := len(b)
	b = append(b, make([]byte, wire.HandshakeSize)...)
	wire.PutControl(b[n:], wire.TypeHandshake, 0, 0)
	h := wire.Handshake(b[n:])
	h.SetVersion(4)
	h.SetExtension(wire.UDTDgram)
	h.SetISN(uint32(nonce))
	h.SetMSS(defaultMSS)
	h.SetFlowWindow(defaultFlowWindow)
	h.SetType(wire.HandshakeInduction)
	h.SetSocketID(socketID)
	h.SetPeerIP(peer)
	return b
}

// IsInductionReply reports whether h answers an INDUCTION with this nonce: a
// listener echoes the ISN, and version 5 goes with the magic code.
func IsInductionReply(h wire.Handshake, nonce Nonce) bool {
	return h.Type() == wire.HandshakeInduction && h.ISN() == uint32(nonce) &&
		(h.Version() <= 4 || h.Extension() == wire.MagicCode)
}

// Nonce is a random number in the range of an ISN. See AppendInduction.
type Nonce uint32

// NewNonce returns a nonce of 30 random bits, taken from 32.
func NewNonce(random uint32) Nonce { return Nonce(random >> 2) }

// What the relay writes into its own INDUCTION: libsrt's defaults, which no
// listener reads.
const (
	defaultMSS        = 1500
	defaultFlowWindow = 8192
)
