package srt

import (
	"net/netip"

	"srtrelay/handshake"
	"srtrelay/wire"
)

const (
	// libsrtVersion is 1.5.3, which SRS is built with.
	libsrtVersion = 0x00010503
	// liveFlags are all but encryption's unused ones: what libsrt 1.5 sends
	// in live mode.
	liveFlags = 0xBF
	// latency is libsrt's default receiver delay, in ms.
	latency = 120
	mss     = 1500
	window  = 8192
)

// AppendInduction appends the first datagram of a caller.
func AppendInduction(b []byte, socketID, isn uint32, peer netip.Addr) []byte {
	return handshake.AppendInduction(b, socketID, handshake.Nonce(isn), peer)
}

// AppendConclusion appends the second one: HSREQ and the stream ID, with the
// listener's cookie.
func AppendConclusion(b []byte, socketID, isn, cookie uint32, peer netip.Addr, streamID string) []byte {
	n := len(b)
	b = append(b, make([]byte, wire.HandshakeSize)...)
	wire.PutControl(b[n:], wire.TypeHandshake, 0, 0)
	h := wire.Handshake(b[n:])
	h.SetVersion(5)
	h.SetExtension(wire.FlagHSReq | wire.FlagConfig)
	h.SetISN(isn)
	h.SetMSS(mss)
	h.SetFlowWindow(window)
	h.SetType(wire.HandshakeConclusion)
	h.SetSocketID(socketID)
	h.SetCookie(cookie)
	h.SetPeerIP(peer)
	b = wire.AppendFeatures(b, wire.BlockHSReq, live())
	return wire.AppendString(b, wire.BlockSID, streamID)
}

// AppendResponse appends a listener's answer to a CONCLUSION.
func AppendResponse(b []byte, req wire.Handshake, socketID uint32, caller netip.Addr) []byte {
	n := len(b)
	b = append(b, req[:wire.HandshakeSize]...)
	h := wire.Handshake(b[n:])
	wire.PutControl(h, wire.TypeHandshake, 0, req.SocketID())
	h.SetVersion(5)
	h.SetEncryption(0)
	h.SetExtension(wire.FlagHSReq)
	h.SetType(wire.HandshakeConclusion)
	h.SetSocketID(socketID)
	h.SetPeerIP(caller)
	return wire.AppendFeatures(b, wire.BlockHSRsp, live())
}

func live() wire.Features {
	return wire.Features{Version: libsrtVersion, Flags: liveFlags, RecvDelay: latency, SendDelay: latency}
}

// Accepted reports whether h is the answer of a listener that accepts, and
// that a libsrt caller would take: with an HSRSP.
func Accepted(h wire.Handshake) bool {
	if h.Type() != wire.HandshakeConclusion || h.Version() != 5 {
		return false
	}
	for b := range h.Blocks {
		if f, ok := b.Features(); ok && b.Type == wire.BlockHSRsp && f.Flags != 0 {
			return true
		}
	}
	return false
}
