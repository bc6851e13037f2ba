package handshake

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"srtrelay/wire"
)

const (
	callerID  = 0x0a0b0c0d
	callerISN = 0x12345678
)

var (
	hsreq = wire.AppendFeatures(nil, wire.BlockHSReq, wire.Features{Version: 0x010501, Flags: 0xbf})
	group = block(wire.BlockGroup, "\x40\x00\x00\x09\x01\x00\x00\x00")
)

func sid(s string) []byte                     { return wire.AppendString(nil, wire.BlockSID, s) }
func block(t wire.BlockType, s string) []byte { return wire.AppendBlock(nil, t, []byte(s)) }
func header(t wire.BlockType, words int) []byte {
	return []byte{0, byte(t), byte(words >> 8), byte(words)}
}

// conclusion is an HSv5 CONCLUSION with these flags and blocks.
func conclusion(flags uint16, blocks ...[]byte) wire.Handshake {
	h := wire.Handshake(make([]byte, wire.HandshakeSize))
	wire.PutControl(h, wire.TypeHandshake, 1000, 0)
	h.SetVersion(5)
	h.SetExtension(flags)
	h.SetISN(callerISN)
	h.SetMSS(1500)
	h.SetFlowWindow(8192)
	h.SetType(wire.HandshakeConclusion)
	h.SetSocketID(callerID)
	return append(h, slices.Concat(blocks...)...)
}

// hsv4 is an HSv4 CONCLUSION.
func hsv4() wire.Handshake {
	h := conclusion(wire.UDTDgram)
	h.SetVersion(4)
	return h
}

// changed applies a change to a fresh handshake.
func changed(h wire.Handshake, change func(wire.Handshake)) wire.Handshake {
	change(h)
	return h
}

func TestParseConclusion(t *testing.T) {
	const hs, conf, km = wire.FlagHSReq, wire.FlagConfig, wire.FlagKMReq
	long := strings.Repeat("x", wire.MaxStreamID)
	tests := []struct {
		name  string
		h     wire.Handshake
		sid   string
		group uint32
		code  Code
	}{
		{name: "bare", h: conclusion(hs, hsreq)},
		{name: "stream ID", h: conclusion(hs|conf, hsreq, sid("live/x")), sid: "live/x"},
		{name: "stream ID first", h: conclusion(hs|conf, sid("live/x"), hsreq), sid: "live/x"},
		{name: "all", h: conclusion(hs|conf|km, group, block(wire.BlockKMReq, "0123"), sid("a"), block(wire.BlockFilter, "fec"), hsreq), sid: "a", group: 0x40000009},
		{name: "unknown block", h: conclusion(hs|conf, block(99, "what"), hsreq, sid("a")), sid: "a"},
		{name: "the last stream ID wins", h: conclusion(hs|conf, hsreq, sid("a"), sid("b")), sid: "b"},
		{name: "no CONFIG flag, no stream ID", h: conclusion(hs, hsreq, sid("a"), group)},
		{name: "no CONFIG flag, bad stream ID", h: conclusion(hs, hsreq, header(wire.BlockSID, 0))},
		{name: "NUL cuts", h: conclusion(hs|conf, hsreq, sid("ab\x00cd")), sid: "ab"},
		{name: "512 bytes", h: conclusion(hs|conf, hsreq, sid(long)), sid: long},
		{name: "516 bytes", h: conclusion(hs|conf, hsreq, sid(long+"x")), code: CodeBadRequest},
		{name: "empty block", h: conclusion(hs|conf, hsreq, header(wire.BlockSID, 0)), code: CodeBadRequest},
		{name: "empty block, then a good one", h: conclusion(hs|conf, header(wire.BlockSID, 0), hsreq, sid("a")), sid: "a", code: CodeBadRequest},
		{name: "0x4001 words", h: conclusion(hs|conf, hsreq, header(wire.BlockSID, 0x4001), []byte("abcd")), code: CodeBadRequest},
		{name: "cut stream ID", h: conclusion(hs|conf, hsreq, header(wire.BlockSID, 2), []byte("abcd"))},
		{name: "group without its bit", h: conclusion(hs|conf, hsreq, block(wire.BlockGroup, "\x00\x00\x00\x09\x01\x00\x00\x00"))},
		{name: "empty group block", h: conclusion(hs|conf, hsreq, header(wire.BlockGroup, 0))},
		{name: "cut group", h: conclusion(hs|conf, hsreq, header(wire.BlockGroup, 2), []byte("\x40\x00\x00\x09"))},

		{name: "no blocks", h: conclusion(hs), code: CodeRogue},
		{name: "no HSREQ block", h: conclusion(hs|conf, sid("a")), sid: "a", code: CodeRogue},
		{name: "no HSREQ flag", h: conclusion(conf, hsreq), code: CodeRogue},
		{name: "cut HSREQ", h: conclusion(hs, hsreq[:12]), code: CodeRogue},
		{name: "HSREQ behind a cut block", h: conclusion(hs|conf, header(wire.BlockFilter, 100), hsreq), code: CodeRogue},
		{name: "66 bytes", h: conclusion(hs, []byte{0, 1}), code: CodeRogue},
		{name: "67 bytes", h: conclusion(hs, []byte{0, 1, 0}), code: CodeRogue},
		{name: "3 bytes behind", h: conclusion(hs, hsreq, []byte{0, 0, 0}), code: CodeRogue},

		{name: "HSv4", h: hsv4()},
		{name: "HSv4, another field", h: changed(hsv4(), func(h wire.Handshake) { h.SetExtension(1) }), code: CodeRogue},
		{name: "HSv4, a key length", h: changed(hsv4(), func(h wire.Handshake) { h.SetEncryption(2) }), code: CodeRogue},
		{name: "HSv4, longer", h: append(hsv4(), sid("a")...), code: CodeRogue},
		{name: "version 3", h: changed(conclusion(hs, hsreq), func(h wire.Handshake) { h.SetVersion(3) }), code: CodeVersion},
		{name: "version 6", h: changed(conclusion(hs, hsreq), func(h wire.Handshake) { h.SetVersion(6) }), code: CodeVersion},
	}
	for _, tt := range tests {
		want := Request{CallerID: callerID, ISN: callerISN, StreamID: tt.sid, Group: tt.group}
		if got, code := ParseConclusion(tt.h); got != want || code != tt.code {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, code, want, tt.code)
		}
	}
}

func TestPlausible(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(wire.Handshake)
		want   bool
	}{
		"as it is":      {func(wire.Handshake) {}, true},
		"highest ISN":   {func(h wire.Handshake) { h.SetISN(0x7ffffffe) }, true},
		"ISN 0":         {func(h wire.Handshake) { h.SetISN(0) }, true},
		"ISN too high":  {func(h wire.Handshake) { h.SetISN(0x7fffffff) }, false},
		"ISN negative":  {func(h wire.Handshake) { h.SetISN(0x80000000) }, false},
		"MSS 32":        {func(h wire.Handshake) { h.SetMSS(32) }, true},
		"MSS 31":        {func(h wire.Handshake) { h.SetMSS(31) }, false},
		"window 2":      {func(h wire.Handshake) { h.SetFlowWindow(2) }, true},
		"window 1":      {func(h wire.Handshake) { h.SetFlowWindow(1) }, false},
		"any SRT ID, 0": {func(h wire.Handshake) { h.SetSocketID(0) }, true},
	} {
		if got := Valid(changed(conclusion(0), tt.change)); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzConclusion: whatever the bytes, the parts of a request stay in bounds and
// the packet as it was.
func FuzzConclusion(f *testing.F) {
	for _, h := range []wire.Handshake{
		conclusion(5, hsreq, sid("#!::r=live/x"), group), hsv4(), conclusion(1, []byte{0, 1}),
		conclusion(5, hsreq, header(wire.BlockSID, 0x4001)), conclusion(7, sid("a"), sid("b"), hsreq),
	} {
		f.Add([]byte(h))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := wire.AsHandshake(b)
		if !ok {
			return
		}
		before := bytes.Clone(b)
		Valid(h)
		r, code := ParseConclusion(h)
		if !bytes.Equal(before, b) {
			t.Fatal("the packet changed")
		}
		if r.CallerID != h.SocketID() || r.ISN != h.ISN() {
			t.Fatalf("%+v is another caller's", r)
		}
		switch code {
		case CodeNone, CodeRogue, CodeVersion, CodeBadRequest:
		default:
			t.Fatalf("code %v", code)
		}
		if len(r.StreamID) > wire.MaxStreamID || strings.ContainsRune(r.StreamID, 0) {
			t.Fatalf("stream ID %q", r.StreamID)
		}
		if r.Group != 0 && r.Group&(1<<30) == 0 {
			t.Fatalf("group %#x", r.Group)
		}
		hasConfig := h.Version() == 5 && binary.BigEndian.Uint16(b[22:])&wire.FlagConfig != 0
		if !hasConfig && (r.StreamID != "" || r.Group != 0) {
			t.Fatalf("%+v without the flag", r)
		}
	})
}
