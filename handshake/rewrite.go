package handshake

import (
	"errors"
	"strings"

	"srtrelay/pool"
	"srtrelay/wire"
)

// Why a CONCLUSION cannot be given another stream ID.
var (
	// ErrNoExtensions: HSv4, or extensions that are not whole blocks.
	ErrNoExtensions = errors.New("the handshake has no place for a stream ID")
	// ErrHiddenBlocks: setting the CONFIG flag would activate other blocks.
	ErrHiddenBlocks = errors.New("the handshake hides blocks behind its CONFIG flag")
	// ErrInvalidStreamID: no block can hold it.
	ErrInvalidStreamID = errors.New("stream ID longer than 512 bytes, or with a NUL")
	// ErrTooLarge: the packet would not fit a datagram that SRT sends.
	ErrTooLarge = errors.New("the handshake would be longer than 1472 bytes")
)

// RewriteStreamID appends a copy of a CONCLUSION that asks for streamID, or
// for none if that is empty. Every other block keeps its bytes and its place,
// so encryption is untouched. dst must not overlap the CONCLUSION.
//
// The stream ID replaces the first one, or else follows the HSREQ block, as
// libsrt sends it; any further one is removed.
func RewriteStreamID(dst []byte, conclusion wire.Handshake, streamID string) ([]byte, error) {
	// libsrt up to 1.5.3 ends the text at its first NUL.
	if len(streamID) > wire.MaxStreamID || strings.Contains(streamID, "\x00") {
		return dst, ErrInvalidStreamID
	}
	if conclusion.Version() != 5 || len(conclusion)%4 != 0 {
		return dst, ErrNoExtensions
	}
	l := findStreamID(conclusion)
	flags := conclusion.Extension()
	if streamID != "" && flags&wire.FlagConfig == 0 && l.otherConfig {
		return dst, ErrHiddenBlocks
	}
	n := len(dst)
	out := append(dst, conclusion[:wire.HandshakeSize]...)
	rest := conclusion[wire.HandshakeSize:]
	at := 0
	for b := range conclusion.Blocks {
		size := min(blockHeader+b.Size, len(rest)-at)
		if at == l.offset {
			out = appendStreamID(out, streamID)
		}
		if b.Type != wire.BlockSID {
			out = append(out, rest[at:at+size]...)
		}
		at += size
	}
	if at == l.offset {
		out = appendStreamID(out, streamID)
	}
	switch h := wire.Handshake(out[n:]); {
	case len(h) > wire.MaxPayload:
		return dst, ErrTooLarge
	case streamID != "":
		h.SetExtension(flags | wire.FlagConfig)
	case !l.otherConfig:
		h.SetExtension(flags &^ wire.FlagConfig)
	}
	return out, nil
}

const blockHeader = 4 // a block's type and length

// sidLayout says where a CONCLUSION's stream ID goes, and what else needs the
// CONFIG flag.
type sidLayout struct {
	offset      int  // of the stream ID, counted from the end of the header
	otherConfig bool // another block needs the CONFIG flag
}

func findStreamID(h wire.Handshake) sidLayout {
	var l sidLayout
	at, found := 0, false
	for b := range h.Blocks {
		switch b.Type {
		case wire.BlockSID:
			if !found {
				l.offset, found = at, true
			}
		case wire.BlockHSReq:
			// Never after a block that is cut: it would be read as part of that.
			if !found && l.offset == 0 && !b.Cut {
				l.offset = at + blockHeader + b.Size
			}
		case wire.BlockCongestion, wire.BlockFilter, wire.BlockGroup:
			l.otherConfig = true
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

// SetOriginal says that the CONCLUSION that the leg was opened with has a
// rewritten stream ID, and what the caller requested. A retry must request the
// same, and is rewritten in the same way.
func (l *BackendLeg) SetOriginal(r Request) { l.original = &r }

// rewriteRetry returns the copy to keep of a retried CONCLUSION; false if it
// requests something else than the first, or cannot be rewritten as that was.
func (l *BackendLeg) rewriteRetry(h wire.Handshake) (*pool.Buffer, bool) {
	kept, _ := ParseConclusion(l.Conclusion())
	first := kept
	if l.original != nil {
		first = *l.original
	}
	if r, code := ParseConclusion(h); code != CodeNone || r != first {
		return nil, false
	}
	if l.original == nil {
		return pool.Get(h), true
	}
	var buf [wire.MaxPayload]byte
	// Not by the present rules, which may have changed since the backend was
	// chosen.
	b, err := RewriteStreamID(buf[:0], h, kept.StreamID)
	if err != nil {
		return nil, false
	}
	return pool.Get(b), true
}
