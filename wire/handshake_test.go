package wire

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
)

// A caller's INDUCTION, byte by byte, from 127.0.0.1.
const inductionHex = `
	80000000 00000000 00000064 00000000
	00000004 0000 0002 12345678 000005dc 00002000 00000001 0a0b0c0d 00000000
	0100007f 00000000 00000000 00000000`

func TestHandshakeFields(t *testing.T) {
	b := unhex(t, inductionHex)
	h, ok := AsHandshake(b)
	if !ok {
		t.Fatal("an INDUCTION is no handshake")
	}
	got := []uint32{
		h.Packet().Timestamp(), h.Version(), uint32(h.Encryption()), uint32(h.Extension()),
		h.ISN(), h.MSS(), h.FlowWindow(), uint32(h.Type()), h.SocketID(), h.Cookie(),
	}
	want := []uint32{100, 4, 0, UDTDgram, 0x12345678, 1500, 8192, 1, 0x0a0b0c0d, 0}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("field %d: %#x, want %#x", i, got[i], want[i])
		}
	}
	if h.PeerIP() != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("peer IP %v", h.PeerIP())
	}
}

// Every setter writes its own bytes and no other; its getter reads them back.
func TestHandshakeSettersAtOffsets(t *testing.T) {
	fields := []struct {
		name   string
		offset int
		size   int
		set    func(Handshake, uint32)
		get    func(Handshake) uint32
	}{
		{"version", 16, 4, Handshake.SetVersion, Handshake.Version},
		{
			"encryption", 20, 2, func(h Handshake, v uint32) { h.SetEncryption(uint16(v)) },
			func(h Handshake) uint32 { return uint32(h.Encryption()) },
		},
		{
			"extension", 22, 2, func(h Handshake, v uint32) { h.SetExtension(uint16(v)) },
			func(h Handshake) uint32 { return uint32(h.Extension()) },
		},
		{"ISN", 24, 4, Handshake.SetISN, Handshake.ISN},
		{"MSS", 28, 4, Handshake.SetMSS, Handshake.MSS},
		{"flow window", 32, 4, Handshake.SetFlowWindow, Handshake.FlowWindow},
		{
			"type", 36, 4, func(h Handshake, v uint32) { h.SetType(HandshakeType(v)) },
			func(h Handshake) uint32 { return uint32(h.Type()) },
		},
		{"socket ID", 40, 4, Handshake.SetSocketID, Handshake.SocketID},
		{"cookie", 44, 4, Handshake.SetCookie, Handshake.Cookie},
	}
	const value = 0x81828384
	for _, f := range fields {
		h := Handshake(make([]byte, HandshakeSize+4))
		f.set(h, value)
		want := make([]byte, HandshakeSize+4)
		if f.size == 4 {
			binary.BigEndian.PutUint32(want[f.offset:], value)
		} else {
			binary.BigEndian.PutUint16(want[f.offset:], value&0xffff)
		}
		if !bytes.Equal(h, want) {
			t.Errorf("%s wrote % x", f.name, []byte(h))
		}
		if got := f.get(h); got != value&uint32(1<<(8*f.size)-1) {
			t.Errorf("%s reads back as %#x", f.name, got)
		}
	}
}

func TestAsHandshakeEdges(t *testing.T) {
	good := unhex(t, inductionHex)
	change := func(i int, v byte) []byte {
		b := bytes.Clone(good)
		b[i] = v
		return b
	}
	tests := []struct {
		name string
		b    []byte
		want bool
	}{
		{"64 bytes", good, true},
		{"63 bytes", good[:63], false},
		{"none", nil, false},
		{"longer", append(bytes.Clone(good), 1, 2, 3), true},
		{"data", change(0, 0x00), false},
		{"high type byte", change(0, 0xff), false},
		{"keepalive", change(1, 1), false},
		{"subtype", change(3, 1), false},
		{"subtype, high byte", change(2, 1), false},
		{"type-specific information does not matter", change(7, 9), true},
	}
	for _, tt := range tests {
		h, ok := AsHandshake(tt.b)
		if ok != tt.want {
			t.Errorf("%s: %v", tt.name, ok)
		}
		if ok && &h[0] != &tt.b[0] {
			t.Errorf("%s: a copy, not a view", tt.name)
		}
	}
}

func TestPeerIP(t *testing.T) {
	tests := []struct{ ip, field, reads string }{
		{"127.0.0.1", "0100007f 00000000 00000000 00000000", "127.0.0.1"},
		{"10.20.30.40", "281e140a 00000000 00000000 00000000", "10.20.30.40"},
		{"::ffff:10.20.30.40", "281e140a 00000000 00000000 00000000", "10.20.30.40"},
		{"0.0.0.0", "00000000 00000000 00000000 00000000", "0.0.0.0"},
		{"::1", "00000000 00000000 00000000 01000000", "::1"},
		{
			"2001:db8:102:304:506:708:90a:b0c", "b80d0120 04030201 08070605 0c0b0a09",
			"2001:db8:102:304:506:708:90a:b0c",
		},
		{"fe80::1%eth0", "000080fe 00000000 00000000 01000000", "fe80::1"},
	}
	for _, tt := range tests {
		h := Handshake(bytes.Repeat([]byte{0xee}, HandshakeSize+4))
		h.SetPeerIP(netip.MustParseAddr(tt.ip))
		want := bytes.Repeat([]byte{0xee}, HandshakeSize+4)
		copy(want[48:], unhex(t, tt.field))
		if !bytes.Equal(h, want) {
			t.Errorf("%s: wrote % x", tt.ip, []byte(h[40:]))
		}
		if got := h.PeerIP(); got != netip.MustParseAddr(tt.reads) {
			t.Errorf("%s reads back as %v", tt.ip, got)
		}
	}
	h := Handshake(bytes.Repeat([]byte{0xee}, HandshakeSize))
	h.SetPeerIP(netip.Addr{}) // a session without an address must not panic
	if got := h.PeerIP(); got != netip.IPv4Unspecified() {
		t.Errorf("no address reads back as %v", got)
	}
}

func TestIsRejection(t *testing.T) {
	for typ, want := range map[HandshakeType]bool{
		999: false, 1000: true, 1001: true, 2503: true, 3999: true, 0x7fffffff: true,
		HandshakeWaveAHand: false, HandshakeInduction: false, HandshakeConclusion: false, HandshakeAgreement: false, HandshakeDone: false,
		0x80000000: false,
	} {
		if got := typ.IsRejection(); got != want {
			t.Errorf("%#x: %v", uint32(typ), got)
		}
	}
}
