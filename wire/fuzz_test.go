package wire

import (
	"bytes"
	"testing"
)

// FuzzHandshake reads everything there is to read of arbitrary bytes. What the
// blocks say, written again, reads the same and is written the same.
func FuzzHandshake(f *testing.F) {
	f.Add(sampleConclusion())
	f.Add(unhex(f, inductionHex))
	f.Add([]byte(with([]byte{0, 5, 0x40, 1, 'd', 'c', 'b', 'a'})))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := AsHandshake(b)
		if !ok {
			return
		}
		before := bytes.Clone(b)
		_ = h.Packet().IsControl()
		_ = h.Type().IsRejection()
		ip := h.PeerIP()
		var ext []byte
		total := 0
		for e := range h.Blocks {
			_, _ = e.Features()
			_, _ = e.GroupID()
			_ = e.String()
			total += blockHeaderSize + len(e.Content)
			if e.Cut != (len(e.Content) < e.Size) {
				t.Fatalf("size %d, content %d, cut %v", e.Size, len(e.Content), e.Cut)
			}
			ext = AppendBlock(ext, e.Type, e.Content)
		}
		if rest := len(b) - HandshakeSize - total; rest < 0 || rest >= blockHeaderSize {
			t.Fatalf("%d bytes left unread", rest)
		}
		if !bytes.Equal(b, before) {
			t.Fatal("reading changed the packet")
		}
		var again []byte
		for e := range with(ext).Blocks {
			again = AppendBlock(again, e.Type, e.Content)
		}
		if !bytes.Equal(ext, again) {
			t.Fatalf("not stable: % x then % x", ext, again)
		}
		h.SetPeerIP(ip)
		// A mapped address goes back as IPv4, which is another form of it.
		if h.PeerIP() != ip.Unmap() || !ip.Is4In6() && !bytes.Equal(b[48:64], before[48:64]) {
			t.Fatalf("peer IP % x came back as % x", before[48:64], b[48:64])
		}
	})
}
