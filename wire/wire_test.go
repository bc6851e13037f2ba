package wire

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"
)

// unhex reads hexadecimal with spaces.
func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHeaderOfData(t *testing.T) {
	p := Packet(unhex(t, "7ffffffe e4000001 01020304 a0b0c0d0"))
	if p.IsControl() {
		t.Error("data taken for control")
	}
	if p.Is(TypeUser) {
		t.Error("data with an all-ones sequence number is a control packet")
	}
	if got := p.Sequence(); got != 0x7ffffffe {
		t.Errorf("Sequence %#x", got)
	}
	if got := p.TypeInfo(); got != 0xe4000001 {
		t.Errorf("TypeInfo %#x", got)
	}
	if got := p.Timestamp(); got != 0x01020304 {
		t.Errorf("Timestamp %#x", got)
	}
	if got := p.DestID(); got != 0xa0b0c0d0 {
		t.Errorf("DestID %#x", got)
	}
}

func TestHeaderOfControl(t *testing.T) {
	for _, c := range []ControlType{
		TypeHandshake, TypeKeepalive, TypeACK, TypeNAK, TypeCongestion,
		TypeShutdown, TypeACKACK, TypeDropReq, TypePeerError, TypeUser,
	} {
		// The subtype must not leak into the type.
		p := Packet{0x80 | byte(c>>8), byte(c), 0xff, 0xff, 8: 0, 15: 0}
		if !p.IsControl() || p.Control() != c || !p.Is(c) {
			t.Errorf("type %d reads as %d, IsControl %v, Is %v", c, p.Control(), p.IsControl(), p.Is(c))
		}
		if p.Is(c ^ 1) {
			t.Errorf("type %d is %d as well", c, c^1)
		}
	}
	// A full ACK's sequence word is not its type.
	if p := Packet(unhex(t, "80020000 00000007 00000001 00000002")); p.TypeInfo() != 7 {
		t.Errorf("ACK number %d, want 7", p.TypeInfo())
	}
}

func TestSettersTouchTheirFieldOnly(t *testing.T) {
	p := Packet(bytes.Repeat([]byte{0xee}, HeaderSize))
	p.SetTimestamp(0x01020304)
	if want := unhex(t, "eeeeeeee eeeeeeee 01020304 eeeeeeee"); !bytes.Equal(p, want) {
		t.Errorf("SetTimestamp wrote % x", []byte(p))
	}
	p.SetDestID(0x05060708)
	if want := unhex(t, "eeeeeeee eeeeeeee 01020304 05060708"); !bytes.Equal(p, want) {
		t.Errorf("SetDestID wrote % x", []byte(p))
	}
}

func TestPutControl(t *testing.T) {
	b := bytes.Repeat([]byte{0xee}, HeaderSize+4)
	PutControl(b, TypeUser, 0x11223344, 0x55667788)
	if want := unhex(t, "ffff0000 00000000 11223344 55667788 eeeeeeee"); !bytes.Equal(b, want) {
		t.Errorf("PutControl wrote % x", b)
	}
}

func TestAppendShutdown(t *testing.T) {
	prefix := []byte{1, 2, 3}
	got := AppendShutdown(prefix, 0x01020304, 0xa0b0c0d0)
	want := unhex(t, "010203 80050000 00000000 01020304 a0b0c0d0 00000000")
	if !bytes.Equal(got, want) {
		t.Errorf("got % x, want % x", got, want)
	}
	// The room of a shard holds bytes of older datagrams: the padding is zero
	// all the same.
	dirty := bytes.Repeat([]byte{0xee}, 64)
	if got := AppendShutdown(dirty[:0], 0, 1); len(got) != ShutdownSize || !bytes.Equal(got[16:], make([]byte, 4)) {
		t.Errorf("in a used buffer: % x", got)
	}
}

func TestViewsDoNotAllocate(t *testing.T) {
	b := sampleConclusion()
	room := make([]byte, 0, 64)
	var sum uint32
	n := testing.AllocsPerRun(100, func() {
		p := Packet(b)
		sum += p.Sequence() + p.TypeInfo() + p.Timestamp() + p.DestID() + uint32(p.Control())
		p.SetTimestamp(sum)
		h, _ := AsHandshake(b)
		sum += h.Version() + uint32(h.Encryption()) + uint32(h.Extension()) + h.ISN() + h.MSS() + h.FlowWindow()
		sum += uint32(h.Type()) + h.SocketID() + h.Cookie()
		h.SetCookie(sum)
		h.SetPeerIP(h.PeerIP())
		for e := range h.Blocks {
			f, _ := e.Features()
			id, _ := e.GroupID()
			sum += f.Version + id
		}
		sum += uint32(len(AppendShutdown(room, sum, sum)))
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}
