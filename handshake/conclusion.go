package handshake

import "srtrelay/wire"

const (
	minMSS        = 32 // libsrt CHandShake::valid
	minFlowWindow = 2
	maxISN        = 0x7FFFFFFE
	groupBit      = 1 << 30
	featuresSize  = 12 // an HSREQ block's content
)

// Plausible reports whether a CONCLUSION's fields are in the ranges that
// libsrt's listener demands before it looks at anything else; it drops the
// others in silence, and so does the relay.
func Plausible(h wire.Handshake) bool {
	// Signed, as libsrt reads them.
	return h.ISN() <= maxISN && int32(h.MSS()) >= minMSS && int32(h.FlowWindow()) >= minFlowWindow
}

// Request is what a CONCLUSION says that matters for routing it.
type Request struct {
	// CallerID is the caller's socket ID, ISN its initial sequence number;
	// with the caller's address they name one connection attempt.
	CallerID, ISN uint32
	// StreamID is empty when the caller sent none.
	StreamID string
	// Group is the caller's bonding group, 0 without one.
	Group uint32
}

// ParseConclusion reads a plausible CONCLUSION. The code is NoRejection, or
// what to answer instead of routing it.
//
// It reads as libsrt does: blocks in any order, unknown types skipped, the last
// stream ID wins, stream ID and group count only with the CONFIG flag, a block
// that runs past the packet ends the scan. What libsrt answers with the
// unusable code 1000 (an empty or oversized stream ID block) is BadRequest.
func ParseConclusion(h wire.Handshake) (Request, Code) {
	r := Request{CallerID: h.SocketID(), ISN: h.ISN()}
	switch h.Version() {
	case 4:
		if h.Encryption() != 0 || h.Extension() != wire.UDTDgram || len(h) != wire.HandshakeSize {
			return r, Rogue
		}
		return r, NoRejection
	case 5:
		return parseExtensions(h, r)
	}
	return r, Version
}

func parseExtensions(h wire.Handshake, r Request) (Request, Code) {
	if len(h)%4 != 0 || h.Extension()&wire.FlagHSReq == 0 {
		return r, Rogue
	}
	hasConfig := h.Extension()&wire.FlagConfig != 0
	code, hasHSReq := NoRejection, false
	for b := range h.Blocks {
		switch {
		case b.Type == wire.BlockHSReq:
			hasHSReq = !b.Cut && b.Size >= featuresSize
		case !hasConfig:
		case b.Type == wire.BlockSID && (b.Size == 0 || b.Size > wire.MaxStreamID):
			code = BadRequest
		case b.Cut:
		case b.Type == wire.BlockSID:
			r.StreamID = b.String()
		case b.Type == wire.BlockGroup:
			r.Group = groupOf(b)
		}
	}
	if !hasHSReq {
		return r, Rogue
	}
	return r, code
}

// groupOf returns the group's ID, or 0 for one that libsrt would not take for
// a group: a mirror group is looked up by an ID with the group bit.
func groupOf(b wire.Block) uint32 {
	id, ok := b.GroupID()
	if !ok || id&groupBit == 0 {
		return 0
	}
	return id
}
