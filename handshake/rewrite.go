package handshake

import (
	"errors"
	"strings"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Why a CONCLUSION cannot be given another stream ID.
var (
	// ErrNoPlace: HSv4, or extensions that are no blocks.
	ErrNoPlace = errors.New("the handshake has no place for a stream ID")
	// ErrHidden: blocks that the CONFIG flag hides would come to count.
	ErrHidden = errors.New("the handshake hides blocks behind its CONFIG flag")
	// ErrNotSent: no block can hold it.
	ErrNotSent = errors.New("stream ID longer than 512 bytes, or with a NUL")
	// ErrTooBig: the packet would not fit a datagram that SRT sends.
	ErrTooBig = errors.New("the handshake would be longer than 1472 bytes")
)

// RewriteStreamID appends a copy of a CONCLUSION that asks for streamID, or
// for none if that is empty. Every other block keeps its bytes and its place,
// so encryption is untouched. dst must not overlap the CONCLUSION.
//
// The stream ID takes the place of the first that there is, else it follows
// the HSREQ block as libsrt sends it; further ones go.
func RewriteStreamID(dst []byte, conclusion wire.Handshake, streamID string) ([]byte, error) {
	// libsrt up to 1.5.3 ends the text at its first NUL.
	if len(streamID) > wire.MaxStreamID || strings.Contains(streamID, "\x00") {
		return dst, ErrNotSent
	}
	if conclusion.Version() != 5 || len(conclusion)%4 != 0 {
		return dst, ErrNoPlace
	}
	l := layOut(conclusion)
	flags := conclusion.Extension()
	if streamID != "" && flags&wire.FlagConfig == 0 && l.config {
		return dst, ErrHidden
	}
	n := len(dst)
	out := append(dst, conclusion[:wire.HandshakeSize]...)
	rest := conclusion[wire.HandshakeSize:]
	at := 0
	for b := range conclusion.Blocks {
		size := min(blockHeader+b.Size, len(rest)-at)
		if at == l.place {
			out = appendStreamID(out, streamID)
		}
		if b.Type != wire.BlockSID {
			out = append(out, rest[at:at+size]...)
		}
		at += size
	}
	if at == l.place {
		out = appendStreamID(out, streamID)
	}
	switch h := wire.Handshake(out[n:]); {
	case len(h) > wire.MaxPayload:
		return dst, ErrTooBig
	case streamID != "":
		h.SetExtension(flags | wire.FlagConfig)
	case !l.config:
		h.SetExtension(flags &^ wire.FlagConfig)
	}
	return out, nil
}

const blockHeader = 4 // a block's type and length

// layout is what matters of a CONCLUSION's blocks for putting a stream ID in.
type layout struct {
	place  int  // offset behind the header at which the stream ID goes
	config bool // there are others that count with the CONFIG flag only
}

func layOut(h wire.Handshake) layout {
	var l layout
	at, found := 0, false
	for b := range h.Blocks {
		switch b.Type {
		case wire.BlockSID:
			if !found {
				l.place, found = at, true
			}
		case wire.BlockHSReq:
			// Never behind a block that is cut: it would be read as its rest.
			if !found && l.place == 0 && !b.Cut {
				l.place = at + blockHeader + b.Size
			}
		case wire.BlockCongestion, wire.BlockFilter, wire.BlockGroup:
			l.config = true
		}
		at += blockHeader + b.Size
	}
	return l
}

func appendStreamID(b []byte, streamID string) []byte {
	if streamID == "" {
		return b
	}
	return wire.AppendString(b, wire.BlockSID, streamID)
}

// Rewrote tells an exchange that the CONCLUSION it was opened with had its
// stream ID rewritten, and what the caller itself asked: repeats are held
// against that, and rewritten alike.
func (x *Exchange) Rewrote(asked Request) { x.asked = &asked }

// repeat returns what to keep of a repeated CONCLUSION. False: it asks for
// something else than the first, or cannot be rewritten as that was.
func (x *Exchange) repeat(h wire.Handshake) (*pool.Buffer, bool) {
	kept, _ := ParseConclusion(x.kept())
	asked := kept
	if x.asked != nil {
		asked = *x.asked
	}
	if asks, code := ParseConclusion(h); code != NoRejection || asks != asked {
		return nil, false
	}
	if x.asked == nil {
		return pool.Get(h), true
	}
	var room [wire.MaxPayload]byte
	// Not what the rules say now: they may have changed since the backend was
	// chosen.
	b, err := RewriteStreamID(room[:0], h, kept.StreamID)
	if err != nil {
		return nil, false
	}
	return pool.Get(b), true
}
