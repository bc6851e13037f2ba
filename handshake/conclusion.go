package handshake

import "srtrelay/wire"

const (
	minMSS        = 32 // libsrt CHandShake::valid
	minFlowWindow = 2
	maxISN        = 0x7FFFFFFE
	groupBit      = 1 << 30
	featuresSize  = 12 // an HSREQ block's content
)

// Valid reports whether a CONCLUSION's fields are in the ranges that libsrt's
// listener demands before it looks at anything else. Like libsrt, the relay
// drops a CONCLUSION that is not valid without a reply.
func Valid(h wire.Handshake) bool {
	// Signed, as libsrt reads them.
	return h.ISN() <= maxISN && int32(h.MSS()) >= minMSS && int32(h.FlowWindow()) >= minFlowWindow
}

// Request is the part of a CONCLUSION that routing needs.
type Request struct {
	// CallerID is the caller's socket ID, ISN its initial sequence number;
	// with the caller's address they name one connection attempt.
	CallerID, ISN uint32
	// StreamID is empty when the caller sent none.
	StreamID string
	// Group is the caller's bonding group, 0 without one.
	Group uint32
}

// ParseConclusion reads a valid CONCLUSION. A code other than CodeNone is the
// rejection to send instead of routing it.
//
// It reads as libsrt does: blocks come in any order, unknown types are skipped,
// the last stream ID wins, stream ID and group need the CONFIG flag, and a block
// that runs past the packet ends the scan. Where libsrt sends code 1000 (for an
// empty or oversized stream ID block) the code is CodeBadRequest.
func ParseConclusion(h wire.Handshake) (Request, Code) {
	r := Request{CallerID: h.SocketID(), ISN: h.ISN()}
	switch h.Version() {
	case 4:
		if h.Encryption() != 0 || h.Extension() != wire.UDTDgram || len(h) != wire.HandshakeSize {
			return r, CodeRogue
		}
		return r, CodeNone
	case 5:
		return parseExtensions(h, r)
	}
	return r, CodeVersion
}

func parseExtensions(h wire.Handshake, r Request) (Request, Code) {
	if len(h)%4 != 0 || h.Extension()&wire.FlagHSReq == 0 {
		return r, CodeRogue
	}
	hasConfig := h.Extension()&wire.FlagConfig != 0
	code, hasHSReq := CodeNone, false
	for b := range h.Blocks {
		switch {
		case b.Type == wire.BlockHSReq:
			hasHSReq = !b.Cut && b.Size >= featuresSize
		case !hasConfig:
		case b.Type == wire.BlockSID && (b.Size == 0 || b.Size > wire.MaxStreamID):
			code = CodeBadRequest
		case b.Cut:
		case b.Type == wire.BlockSID:
			r.StreamID = b.String()
		case b.Type == wire.BlockGroup:
			r.Group = groupOf(b)
		}
	}
	if !hasHSReq {
		return r, CodeRogue
	}
	return r, code
}

// groupOf returns the group's ID, or 0 for an ID without the group bit, which
// libsrt does not accept as a group's.
func groupOf(b wire.Block) uint32 {
	id, ok := b.GroupID()
	if !ok || id&groupBit == 0 {
		return 0
	}
	return id
}
