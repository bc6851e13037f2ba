package wire

import (
	"bytes"
	"encoding/binary"
)

// BlockType is the type of a handshake extension block (draft table 6).
type BlockType uint16

// Extension block types.
const (
	BlockHSReq      BlockType = 1
	BlockHSRsp      BlockType = 2
	BlockKMReq      BlockType = 3
	BlockKMRsp      BlockType = 4
	BlockSID        BlockType = 5
	BlockCongestion BlockType = 6
	BlockFilter     BlockType = 7
	BlockGroup      BlockType = 8
)

const (
	blockHeaderSize = 4
	// MaxStreamID is the longest stream ID libsrt accepts, in bytes.
	MaxStreamID = 512
)

// Block is one extension block of an HSv5 handshake.
type Block struct {
	Type BlockType
	// Size is the content's length in bytes as announced: a multiple of 4.
	Size int
	// Content is a view of the packet; shorter than Size only if Cut.
	Content []byte
	// Cut is set when the block is announced longer than its packet. It is
	// then the last one.
	Cut bool
}

// Blocks iterates over the extension blocks behind a handshake's control
// information field, in the order they arrived. Trailing bytes too short for
// a block header end the iteration.
func (h Handshake) Blocks(yield func(Block) bool) {
	rest := h[HandshakeSize:]
	for len(rest) >= blockHeaderSize {
		b := Block{
			Type: BlockType(binary.BigEndian.Uint16(rest)),
			Size: int(binary.BigEndian.Uint16(rest[2:])) * 4,
		}
		rest = rest[blockHeaderSize:]
		n := b.Size
		if n > len(rest) {
			n, b.Cut = len(rest), true
		}
		b.Content, rest = rest[:n:n], rest[n:]
		if !yield(b) || b.Cut {
			return
		}
	}
}

// AppendBlock appends a block; the content is zero-padded to whole words.
func AppendBlock(b []byte, t BlockType, content []byte) []byte {
	words := (len(content) + 3) / 4
	b = binary.BigEndian.AppendUint16(b, uint16(t))
	b = binary.BigEndian.AppendUint16(b, uint16(words))
	b = append(b, content...)
	return append(b, make([]byte, words*4-len(content))...)
}

// AppendString appends a block of type SID, CONGESTION or FILTER: s padded
// with zeros to whole words, every word byte-reversed.
func AppendString(b []byte, t BlockType, s string) []byte {
	n := len(b) + blockHeaderSize
	b = AppendBlock(b, t, []byte(s))
	reverseWords(b[n:])
	return b
}

// String returns the text of a SID, CONGESTION or FILTER block, ended by the
// first NUL as libsrt up to 1.5.3 reads it.
func (b Block) String() string {
	text := bytes.Clone(b.Content[:len(b.Content)&^3])
	reverseWords(text)
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	return string(text)
}

// GroupID returns the group ID of a GROUP block.
func (b Block) GroupID() (id uint32, ok bool) {
	if len(b.Content) < 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(b.Content), true
}

// Features is the content of an HSREQ or HSRSP block.
type Features struct {
	Version   uint32 // 0x00MMmmpp
	Flags     uint32
	RecvDelay uint16 // receiver's TSBPD delay, milliseconds
	SendDelay uint16 // sender's TSBPD delay, milliseconds
}

// Features reads an HSREQ or HSRSP block.
func (b Block) Features() (f Features, ok bool) {
	if len(b.Content) < 12 {
		return f, false
	}
	return Features{
		Version:   binary.BigEndian.Uint32(b.Content),
		Flags:     binary.BigEndian.Uint32(b.Content[4:]),
		RecvDelay: binary.BigEndian.Uint16(b.Content[8:]),
		SendDelay: binary.BigEndian.Uint16(b.Content[10:]),
	}, true
}

// AppendFeatures appends an HSREQ or HSRSP block.
func AppendFeatures(b []byte, t BlockType, f Features) []byte {
	var c [12]byte
	binary.BigEndian.PutUint32(c[:], f.Version)
	binary.BigEndian.PutUint32(c[4:], f.Flags)
	binary.BigEndian.PutUint16(c[8:], f.RecvDelay)
	binary.BigEndian.PutUint16(c[10:], f.SendDelay)
	return AppendBlock(b, t, c[:])
}
