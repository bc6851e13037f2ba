package handshake

import (
	"bytes"
	"net/netip"
	"testing"

	"srtrelay/wire"
)

// request is a caller's INDUCTION with every field of its own.
func request() wire.Handshake {
	h := conclusion(wire.UDTDgram)
	h.Packet().SetTimestamp(77)
	h.SetVersion(4)
	h.SetMSS(1400)
	h.SetFlowWindow(25600)
	h.SetType(wire.HandshakeInduction)
	h.SetCookie(3) // libsrt does not care
	h.SetPeerIP(netip.MustParseAddr("192.0.2.200"))
	return h
}

func TestAppendInductionReply(t *testing.T) {
	caller := netip.MustParseAddr("127.0.0.1")
	want := wire.Handshake(make([]byte, wire.HandshakeSize))
	wire.PutControl(want, wire.TypeHandshake, 77, callerID)
	want.SetVersion(5)
	want.SetEncryption(4)
	want.SetExtension(0x4A17)
	want.SetISN(callerISN)
	want.SetMSS(1400)
	want.SetFlowWindow(25600)
	want.SetType(1)
	want.SetSocketID(callerID)
	want.SetCookie(0xc00c1e)
	copy(want[48:], []byte{1, 0, 0, 127})
	for _, extra := range []int{0, 1, 100, 1408} {
		req := append(request(), bytes.Repeat([]byte{0xee}, extra)...)
		before := bytes.Clone(req)
		got := AppendInductionReply([]byte{9}, req, 0xc00c1e, 4, caller)
		if !bytes.Equal(got, append([]byte{9}, want...)) {
			t.Errorf("to %d bytes:\n got % x\nwant 09 % x", len(req), got, []byte(want))
		}
		if !bytes.Equal(req, before) {
			t.Error("the request changed")
		}
	}
	got := wire.Handshake(AppendInductionReply(nil, request(), 1, 0, netip.MustParseAddr("2001:db8::1")))
	if got.PeerIP() != netip.MustParseAddr("2001:db8::1") || got.Encryption() != 0 {
		t.Errorf("IPv6: peer IP %v, key length %d", got.PeerIP(), got.Encryption())
	}
}

func TestAppendRejection(t *testing.T) {
	req := conclusion(5, hsreq, sid("a"))
	want := bytes.Clone(req[:64])
	wire.Packet(want).SetDestID(callerID)
	wire.Handshake(want).SetType(2404)
	if got := AppendRejection(nil, req, CodeNotFound); !bytes.Equal(got, want) {
		t.Errorf("\n got % x\nwant % x", got, want)
	}
}

func TestAppendInduction(t *testing.T) {
	nonce := NewNonce(0xffffffff)
	got := AppendInduction(bytes.Repeat([]byte{0xee}, 80)[:2], callerID, nonce, netip.MustParseAddr("127.0.0.1"))
	want := []byte{
		0xee, 0xee,
		0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 4, 0, 0, 0, 2, 0x3f, 0xff, 0xff, 0xff, 0, 0, 5, 0xdc, 0, 0, 0x20, 0,
		0, 0, 0, 1, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0, 0, 0,
		1, 0, 0, 127, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	}
	if !bytes.Equal(got, want) {
		t.Errorf("\n got % x\nwant % x", got, want)
	}
}

// What goes out as the ISN is what comes back: no bit of a nonce may be lost
// on the way, or half of all answers look forged.
func TestNonceSurvives(t *testing.T) {
	for bit := range 32 {
		nonce := NewNonce(1 << bit)
		h := wire.Handshake(AppendInduction(nil, 1, nonce, netip.Addr{}))
		if h.ISN() != uint32(nonce) || !Valid(h) {
			t.Errorf("bit %d: nonce %#x, ISN %#x", bit, nonce, h.ISN())
		}
	}
}

func TestCodeString(t *testing.T) {
	for code, want := range map[Code]string{CodeDown: "2503 down", 1010: "1010 bad secret", 3456: "3456"} {
		if got := code.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
