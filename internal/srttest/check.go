package srttest

import (
	"bytes"

	"srtrelay/wire"
)

// checkInductionReply holds an INDUCTION reply to what HSv4 and HSv5 callers
// together demand.
func checkInductionReply(h wire.Handshake) error {
	switch {
	case len(h) != wire.HandshakeSize:
		return violation("INDUCTION reply of %d bytes", len(h))
	case h.Version() != 5:
		return violation("INDUCTION reply of version %d", h.Version())
	case h.Extension() != wire.MagicCode:
		return violation("INDUCTION reply with magic %#x", h.Extension())
	case h.Encryption() == 1 || h.Encryption() > 4:
		return violation("INDUCTION reply with encryption %d", h.Encryption())
	}
	return nil
}

// checkResponse is CHandShake::valid and interpretSrtHandshake of libsrt. mu
// is held.
func (s *Session) checkResponse(h wire.Handshake) error {
	switch {
	case h.Version() != s.o.Version:
		return violation("response of version %d", h.Version())
	case h.ISN() >= sequenceMask:
		return violation("response with ISN %#x", h.ISN())
	case h.MSS() < minMSS:
		return violation("response with MSS %d", h.MSS())
	case h.FlowWindow() < minWindow:
		return violation("response with flow window %d", h.FlowWindow())
	case s.o.Style == Blocking && h.ISN() != s.isn:
		return violation("response with ISN %d instead of %d", h.ISN(), s.isn)
	case s.o.Version < 5 && len(h) != wire.HandshakeSize:
		return violation("HSv4 response of %d bytes", len(h))
	case s.o.Version < 5:
		return nil
	case len(h) == wire.HandshakeSize || h.Extension() == 0:
		return violation("HSv5 response without extensions")
	}
	return s.checkBlocks(h)
}

func (s *Session) checkBlocks(h wire.Handshake) error {
	var features, keyed, grouped bool
	for b := range h.Blocks {
		switch {
		case b.Cut:
			return violation("response block %d is cut", b.Type)
		case b.Type == wire.BlockHSRsp:
			s.seen.Features, features = b.Features()
		case b.Type == wire.BlockKMRsp && !bytes.Equal(b.Content, s.km):
			return violation("KMRSP %x does not echo the KMREQ", b.Content)
		case b.Type == wire.BlockKMRsp:
			keyed = true
		case b.Type == wire.BlockGroup:
			s.seen.GroupID, grouped = b.GroupID()
		case b.Type == wire.BlockSID:
			s.seen.StreamID = b.String()
		}
	}
	switch {
	case !features:
		return violation("response without HSRSP")
	case s.o.Style == Gosrt && s.seen.Features.Flags&gosrtNeeds != gosrtNeeds:
		return violation("response flags %#x", s.seen.Features.Flags)
	case s.o.Style == Gosrt && s.seen.Features.Flags&streamFlag != 0:
		return violation("response in stream mode")
	case s.km != nil && !keyed:
		return violation("response without KMRSP")
	case s.o.GroupID != 0 && !grouped:
		return violation("response without GROUP")
	}
	return nil
}

const (
	// gosrtNeeds is TSBPD both ways, TLPKTDROP, NAKREPORT and REXMITFLG.
	gosrtNeeds = 0x3B
	streamFlag = 0x40
)
