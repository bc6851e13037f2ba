package handshake

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"srtrelay/wire"
)

func TestRewriteStreamID(t *testing.T) {
	const hs, conf, km = wire.FlagHSReq, wire.FlagConfig, wire.FlagKMReq
	kmreq := block(wire.BlockKMReq, strings.Repeat("key!", 14))
	filter := block(wire.BlockFilter, "fec,cols:10")
	cut := slices.Concat(header(wire.BlockFilter, 9), []byte("abcd"))
	long := strings.Repeat("x", wire.MaxStreamID)
	tests := []struct {
		name     string
		h        wire.Handshake
		streamID string
		want     wire.Handshake
		err      error
	}{
		{name: "inserted", h: conclusion(hs|km, hsreq, kmreq), streamID: "a/b", want: conclusion(hs|conf|km, hsreq, sid("a/b"), kmreq)},
		{name: "inserted last", h: conclusion(hs, hsreq), streamID: "a/b", want: conclusion(hs|conf, hsreq, sid("a/b"))},
		{name: "inserted behind HSREQ", h: conclusion(hs|km, kmreq, hsreq, block(99, "what")), streamID: "a", want: conclusion(hs|conf|km, kmreq, hsreq, sid("a"), block(99, "what"))},
		{name: "inserted ahead of a cut block", h: conclusion(hs|conf, hsreq, cut), streamID: "a", want: conclusion(hs|conf, hsreq, sid("a"), cut)},
		{name: "inserted ahead of a cut HSREQ", h: conclusion(hs, hsreq[:12]), streamID: "a", want: conclusion(hs|conf, sid("a"), hsreq[:12])},
		{name: "replaced in its place", h: conclusion(hs|conf|km, hsreq, kmreq, sid("long/er"), filter), streamID: "a", want: conclusion(hs|conf|km, hsreq, kmreq, sid("a"), filter)},
		{name: "replaced ahead of HSREQ", h: conclusion(hs|conf, sid("x"), hsreq), streamID: "a/b/c/d", want: conclusion(hs|conf, sid("a/b/c/d"), hsreq)},
		{name: "duplicates go", h: conclusion(hs|conf, hsreq, sid("x"), group, sid("y")), streamID: "a", want: conclusion(hs|conf, hsreq, sid("a"), group)},
		{name: "a cut one goes", h: conclusion(hs|conf, hsreq, header(wire.BlockSID, 4), []byte("abcd")), streamID: "a", want: conclusion(hs|conf, hsreq, sid("a"))},
		{name: "an empty one goes", h: conclusion(hs|conf, header(wire.BlockSID, 0), hsreq), streamID: "a", want: conclusion(hs|conf, sid("a"), hsreq)},
		{name: "a hidden one goes", h: conclusion(hs, hsreq, sid("x")), streamID: "a", want: conclusion(hs|conf, hsreq, sid("a"))},
		{name: "removed, and the flag", h: conclusion(hs|conf|km, hsreq, sid("x"), kmreq), want: conclusion(hs|km, hsreq, kmreq)},
		{name: "removed, the flag stays", h: conclusion(hs|conf, hsreq, sid("x"), group), want: conclusion(hs|conf, hsreq, group)},
		{name: "512 bytes", h: conclusion(hs, hsreq), streamID: long, want: conclusion(hs|conf, hsreq, sid(long))},

		{name: "513 bytes", h: conclusion(hs, hsreq), streamID: long + "x", err: ErrInvalidStreamID},
		{name: "NUL", h: conclusion(hs, hsreq), streamID: "a\x00b", err: ErrInvalidStreamID},
		{name: "HSv4", h: hsv4(), streamID: "a", err: ErrNoExtensions},
		{name: "66 bytes", h: conclusion(hs, []byte{0, 1}), streamID: "a", err: ErrNoExtensions},
		{name: "a hidden group", h: conclusion(hs, hsreq, group), streamID: "a", err: ErrHiddenBlocks},
		{name: "too big", h: conclusion(hs, hsreq, block(99, strings.Repeat("x", 1200))), streamID: long, err: ErrTooLarge},
	}
	for _, tt := range tests {
		before := bytes.Clone(tt.h)
		got, err := RewriteStreamID([]byte("dst"), tt.h, tt.streamID)
		if !errors.Is(err, tt.err) || !bytes.Equal(got, append([]byte("dst"), tt.want...)) {
			t.Errorf("%s: %v\n got % x\nwant % x", tt.name, err, got, []byte(tt.want))
		}
		if !bytes.Equal(before, tt.h) {
			t.Errorf("%s: the original changed", tt.name)
		}
	}
}

// The bug to avoid: a retry bears the caller's own stream ID, and would either
// be taken for another request or undo the rewriting.
func TestRewrittenRetry(t *testing.T) {
	retry := func(s string, timestamp uint32, more ...[]byte) wire.Handshake {
		h := conclusion(5, append([][]byte{hsreq, sid(s)}, more...)...)
		h.Packet().SetTimestamp(timestamp)
		return h
	}
	told, err := RewriteStreamID(nil, retry("caller/own", sentAt), "rule/with/a/longer/name")
	if err != nil {
		t.Fatal(err)
	}
	var x BackendLeg
	x.Open(opened, told, caller4)
	defer x.Close()
	asked, _ := ParseConclusion(retry("caller/own", sentAt))
	x.SetOriginal(asked)
	if x.AcceptRetry(opened+ms, retry("rule/with/a/longer/name", sentAt+1000)) {
		t.Error("a repeat that asks for the rule's stream itself was taken")
	}
	if x.AcceptRetry(opened+ms, retry("caller/own", sentAt+1000, group)) {
		t.Error("a repeat that asks for a group as well was taken")
	}
	if x.AcceptRetry(opened+ms, retry("caller/own", sentAt+1000, block(99, strings.Repeat("x", wire.MaxPayload-64-16-16-4)))) {
		t.Error("a repeat that does not fit was taken")
	}
	if !x.AcceptRetry(opened+ms, retry("caller/own", sentAt+1000)) {
		t.Fatal("the caller's repeat was refused")
	}
	kept := retry("rule/with/a/longer/name", sentAt+1000)
	if !bytes.Equal(x.Conclusion(), kept) {
		t.Errorf("kept % x\nwant % x", []byte(x.Conclusion()), []byte(kept))
	}
}

// FuzzRewrite: the result asks for the stream ID, all else is as it was.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{"", "a/b", "#!::r=live/x,m=publish", strings.Repeat("x", 513)} {
		f.Add([]byte(conclusion(5, hsreq, sid("#!::r=live/x"), group)), s)
		f.Add([]byte(conclusion(7, sid("a"), block(wire.BlockKMReq, "0123"), sid("b"), hsreq)), s)
		f.Add([]byte(conclusion(5, hsreq, header(wire.BlockSID, 0x4001), []byte("abcd"))), s)
		f.Add([]byte(conclusion(1, hsreq, sid("a"))), s)
		f.Add([]byte(hsv4()), s)
	}
	f.Fuzz(func(t *testing.T, b []byte, streamID string) {
		h, ok := wire.AsHandshake(b)
		if !ok || len(b) > wire.MaxPayload {
			return
		}
		before := bytes.Clone(b)
		asked, code := ParseConclusion(h)
		got, err := RewriteStreamID([]byte("dst"), h, streamID)
		if !bytes.Equal(before, b) || !bytes.HasPrefix(got, []byte("dst")) {
			t.Fatal("the original or the destination changed")
		}
		if err != nil {
			checkRefused(t, h, streamID, err)
			return
		}
		out := wire.Handshake(got[3:])
		if len(out) > wire.MaxPayload {
			t.Fatalf("%d bytes", len(out))
		}
		if a, b := otherBlocks(h), otherBlocks(out); !slices.EqualFunc(a, b, sameBlock) {
			t.Fatalf("blocks %v became %v", a, b)
		}
		flags := h.Extension()
		out.SetExtension(flags)
		if !bytes.Equal(out[:wire.HandshakeSize], h[:wire.HandshakeSize]) {
			t.Fatal("the header changed")
		}
		if code != CodeNone && code != CodeBadRequest {
			return // never routed
		}
		out, _ = RewriteStreamID(nil, h, streamID)
		if out.Extension()&^wire.FlagConfig != flags&^wire.FlagConfig {
			t.Fatalf("flags %x became %x", flags, out.Extension())
		}
		asked.StreamID = streamID
		if told, code := ParseConclusion(out); code != CodeNone || told != asked {
			t.Fatalf("told %+v, %v; want %+v", told, code, asked)
		}
	})
}

// checkRefused wants a reason that is true.
func checkRefused(t *testing.T, h wire.Handshake, streamID string, err error) {
	t.Helper()
	reason := map[error]bool{
		ErrInvalidStreamID: len(streamID) > wire.MaxStreamID || strings.Contains(streamID, "\x00"),
		ErrNoExtensions:    h.Version() != 5 || len(h)%4 != 0,
		ErrHiddenBlocks:    h.Extension()&wire.FlagConfig == 0,
		ErrTooLarge:        len(h)+len(streamID)+8 > wire.MaxPayload,
	}
	if !reason[err] {
		t.Fatalf("%v, which it is not", err)
	}
}

func otherBlocks(h wire.Handshake) (all []wire.Block) {
	for b := range h.Blocks {
		if b.Type != wire.BlockSID {
			all = append(all, b)
		}
	}
	return all
}

func sameBlock(a, b wire.Block) bool {
	return a.Type == b.Type && a.Size == b.Size && a.Cut == b.Cut && bytes.Equal(a.Content, b.Content)
}
