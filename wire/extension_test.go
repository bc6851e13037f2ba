package wire

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// sampleConclusion is an HSv5 CONCLUSION with HSREQ, SID and GROUP.
func sampleConclusion() []byte {
	h := Handshake(make([]byte, HandshakeSize))
	PutControl(h, TypeHandshake, 7, 0)
	h.SetVersion(5)
	h.SetExtension(FlagHSReq | FlagConfig)
	h.SetType(HandshakeConclusion)
	b := AppendFeatures(h, BlockHSReq, Features{Version: 0x010501, Flags: 0xbf, RecvDelay: 120, SendDelay: 60})
	b = AppendString(b, BlockSID, "#!::r=live/x")
	return AppendBlock(b, BlockGroup, []byte{0x40, 0, 0, 9, 1, 0, 0, 0})
}

// with returns a handshake with these extension bytes.
func with(ext []byte) Handshake {
	return append(make(Handshake, HandshakeSize), ext...)
}

// describe lists blocks as type/size/content length, "!" for a cut one.
func describe(h Handshake) (all []string) {
	for b := range h.Blocks {
		s := fmt.Sprintf("%d/%d/%d", b.Type, b.Size, len(b.Content))
		if b.Cut {
			s += "!"
		}
		all = append(all, s)
	}
	return all
}

func TestBlocks(t *testing.T) {
	tests := []struct{ name, ext, want string }{
		{"none", "", ""},
		{"one", "0008 0001 40000001", "8/4/4"},
		{"SID before HSREQ", "0005 0001 31323334 0001 0003 00010501 000000bf 00780078", "5/4/4 1/12/12"},
		{"unknown type", "7777 0001 ffffffff 0008 0000", "30583/4/4 8/0/0"},
		{"zero length", "0005 0000 0005 0001 61626364", "5/0/0 5/4/4"},
		{"cut", "0001 0003 00010501 000000bf", "1/12/8!"},
		{"cut to nothing", "0001 0003", "1/12/0!"},
		{"0x4001 words do not wrap to one", "0005 4001 61626364 0008 0001 40000001", "5/65540/12!"},
		{"0xffff words", "0005 ffff", "5/262140/0!"},
		{"1 trailing byte", "0008 0001 40000001 ff", "8/4/4"},
		{"3 trailing bytes", "0008 0001 40000001 000500", "8/4/4"},
		{"3 bytes alone", "000500", ""},
	}
	for _, tt := range tests {
		if got := strings.Join(describe(with(unhex(t, tt.ext))), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestBlocksStopWhenTold(t *testing.T) {
	n := 0
	for range with(unhex(t, "0001 0000 0002 0000 0003 0000")).Blocks {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		t.Errorf("%d blocks", n)
	}
}

// An append to a view must not overwrite the next block.
func TestBlockContentIsCapped(t *testing.T) {
	h := with(unhex(t, "0001 0001 aaaaaaaa 0002 0001 bbbbbbbb"))
	want := bytes.Clone(h)
	for b := range h.Blocks {
		_ = append(b.Content, 0xff, 0xff)
	}
	if !bytes.Equal(h, want) {
		t.Errorf("% x", []byte(h[HandshakeSize:]))
	}
}

func TestStrings(t *testing.T) {
	tests := []struct{ s, wire string }{
		{"#!::", "0005 0001 3a3a2123"}, // travels as ::!#
		{"#!::r", "0005 0002 3a3a2123 00000072"},
		{"ab", "0005 0001 00006261"},
		{"", "0005 0000"},
	}
	for _, tt := range tests {
		got := AppendString([]byte{0xee}, BlockSID, tt.s)
		if want := append([]byte{0xee}, unhex(t, tt.wire)...); !bytes.Equal(got, want) {
			t.Errorf("%q travels as % x, want % x", tt.s, got, want)
		}
		for b := range with(got[1:]).Blocks {
			if b.Type != BlockSID || b.String() != tt.s {
				t.Errorf("%q reads back as type %d %q", tt.s, b.Type, b.String())
			}
		}
	}
	long := strings.Repeat("x", MaxStreamID)
	for b := range with(AppendString(nil, BlockSID, long)).Blocks {
		if b.Size != MaxStreamID || b.String() != long {
			t.Errorf("the longest stream ID has size %d", b.Size)
		}
	}
}

func TestStringReading(t *testing.T) {
	nul := Block{Content: []byte("\x00cba" + "hgfe")} // "abc\0efgh"
	if got := nul.String(); got != "abc" {
		t.Errorf("NUL: %q", got)
	}
	odd := Block{Content: []byte("dcba12"), Cut: true}
	if got := odd.String(); got != "abcd" {
		t.Errorf("a cut word: %q", got)
	}
	if got := string(odd.Content); got != "dcba12" {
		t.Errorf("String changed the packet: %q", got)
	}
}

func TestFeaturesAndGroup(t *testing.T) {
	f := Features{Version: 0x00010501, Flags: 0xbf, RecvDelay: 0x0102, SendDelay: 0x0304}
	b := AppendFeatures(nil, BlockHSRsp, f)
	if want := unhex(t, "0002 0003 00010501 000000bf 01020304"); !bytes.Equal(b, want) {
		t.Errorf("% x", b)
	}
	for e := range with(b).Blocks {
		if got, ok := e.Features(); !ok || got != f {
			t.Errorf("%+v %v", got, ok)
		}
	}
	if _, ok := (Block{Content: make([]byte, 11)}).Features(); ok {
		t.Error("features of 11 bytes")
	}
	if id, ok := (Block{Content: []byte{0x40, 0, 0, 9}}).GroupID(); !ok || id != 0x40000009 {
		t.Errorf("group %#x %v", id, ok)
	}
	if _, ok := (Block{Content: make([]byte, 3)}).GroupID(); ok {
		t.Error("group ID of 3 bytes")
	}
}

func TestAppendBlockPads(t *testing.T) {
	for n := range 9 {
		dirty := bytes.Repeat([]byte{0xee}, 32)
		b := AppendBlock(dirty[:0], BlockKMReq, bytes.Repeat([]byte{0xaa}, n))
		words := (n + 3) / 4
		want := slices.Concat([]byte{0, 3, 0, byte(words)}, bytes.Repeat([]byte{0xaa}, n), make([]byte, words*4-n))
		if !bytes.Equal(b, want) {
			t.Errorf("%d bytes: % x", n, b)
		}
	}
}
