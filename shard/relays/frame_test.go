package relays

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/handshake"
	"srtrelay/wire"
)

func to(s string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(s)) }

var (
	owner, other = to("10.0.0.1:20081"), to("10.0.0.2:20081")
	caller4      = to("192.0.2.7:9000")
	caller6      = to("[2001:db8::7]:9000")
	here         = addr.FromIP(netip.MustParseAddr("203.0.113.1"))
	someKey      = frameKeyOf(handshake.Secret{1})
)

// sealed returns a frame as it is received: behind the space for its target.
func sealed(t testing.TB, k frameKey, target addr.AddrPort, d Datagram, s stamp) []byte {
	t.Helper()
	b := make([]byte, targetSize+maxFrame)
	n := putDatagram(b, target, d)
	if n == 0 {
		t.Fatal("no frame")
	}
	f := k.seal(b[:n], s)
	if len(f) != n-targetSize {
		t.Fatalf("a frame of %d bytes, %d were to be sent", n-targetSize, len(f))
	}
	return append(make([]byte, targetSize), f...)
}

func TestFrames(t *testing.T) {
	for _, d := range []Datagram{
		{Caller: caller4, Local: here, Listener: 20080, Data: bytes.Repeat([]byte{1}, wire.HeaderSize)},
		{Caller: caller6, Listener: 1, Data: bytes.Repeat([]byte{2}, maxData)},
	} {
		s := stamp{sender: 3, sequence: 4, time: 5}
		f, drop, ok := openFrame(sealed(t, someKey, owner, d, s), owner, []frameKey{frameKeyOf(handshake.Secret{2}), someKey})
		if !ok {
			t.Fatalf("dropped: %v", drop)
		}
		if f.stamp != s || f.Caller != d.Caller || f.Local != d.Local || f.Listener != d.Listener || !bytes.Equal(f.Data, d.Data) {
			t.Errorf("opened %+v, sealed %+v", f, d)
		}
	}
}

func TestLongAndShortDatagramsAreNotFramed(t *testing.T) {
	b := make([]byte, targetSize+maxFrame)
	for _, n := range []int{0, wire.HeaderSize - 1, maxData + 1, 9000} {
		if putDatagram(b, owner, Datagram{Caller: caller4, Data: make([]byte, n)}) != 0 {
			t.Errorf("%d bytes are framed", n)
		}
	}
}

// No changed, cut or extended frame is opened, nor one for another relay.
func TestForgedFrames(t *testing.T) {
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: bytes.Repeat([]byte{7}, 100)}
	good := sealed(t, someKey, owner, d, stamp{1, 2, 3})
	keys := []frameKey{someKey}
	if _, drop, ok := openFrame(bytes.Clone(good), other, keys); ok || drop != DropAuthenticator {
		t.Errorf("for another relay: %v %v", drop, ok)
	}
	if _, drop, ok := openFrame(bytes.Clone(good), owner, []frameKey{frameKeyOf(handshake.Secret{2})}); ok || drop != DropSecret {
		t.Errorf("another secret: %v %v", drop, ok)
	}
	if _, _, ok := openFrame(bytes.Clone(good), owner, nil); ok {
		t.Error("opened without a secret")
	}
	for bit := range 8 * (len(good) - targetSize) {
		b := bytes.Clone(good)
		b[targetSize+bit/8] ^= 1 << (bit % 8)
		if _, _, ok := openFrame(b, owner, keys); ok {
			t.Errorf("bit %d may change", bit)
		}
	}
	for n := range len(good) - targetSize {
		if _, _, ok := openFrame(bytes.Clone(good[:targetSize+n]), owner, keys); ok {
			t.Errorf("opened with %d bytes", n)
		}
	}
	if _, _, ok := openFrame(append(bytes.Clone(good), 0), owner, keys); ok {
		t.Error("opened with a byte more")
	}
}

func TestWindow(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	w := windows{bySender: make(map[uint64]*window)}
	for _, c := range []struct {
		sender, sequence uint64
		skew             int64
		drop             Counter
		ok               bool
	}{
		{1, 1, 0, 0, true},
		{1, 1, 0, DropReplayed, false},
		{1, 0, 0, DropReplayed, false},
		{1, 3, 0, 0, true},
		{1, 2, 0, 0, true}, // reordered
		{1, 2, 0, DropReplayed, false},
		{2, 2, 0, 0, true}, // another process
		{1, 4, maxSkew, 0, true},
		{1, 5, -maxSkew, 0, true},
		{1, 6, maxSkew + 1, DropStale, false},
		{1, 6, -maxSkew - 1, DropStale, false},
		{1, 6, 0, 0, true}, // what was refused takes no number
		{1, 6 + windowSize, 0, 0, true},
		{1, 7, 0, 0, true}, // the oldest that is remembered
		{1, 6, 0, DropReplayed, false},
		{1, 7, 0, DropReplayed, false},
		{1, 6 + 10*windowSize, 0, 0, true},
		{1, 7 + 9*windowSize, 0, 0, true},
		{1, 1<<64 - 1, 0, 0, true},
		{1, 1<<64 - 1, 0, DropReplayed, false},
		{1, 5, 0, DropReplayed, false},
	} {
		drop, ok := w.accept(stamp{c.sender, c.sequence, now.Unix() + c.skew}, now)
		if drop != c.drop || ok != c.ok {
			t.Errorf("sender %d, %d, skew %d: %v %v", c.sender, c.sequence, c.skew, drop, ok)
		}
	}
}

func TestSendersAreBounded(t *testing.T) {
	w := windows{bySender: make(map[uint64]*window)}
	for i := range uint64(4 * maxSenders) {
		at := time.Unix(int64(i), 0)
		if _, ok := w.accept(stamp{i, 1, at.Unix()}, at); !ok {
			t.Fatalf("sender %d refused", i)
		}
	}
	if len(w.bySender) != maxSenders || w.bySender[4*maxSenders-1] == nil {
		t.Errorf("%d senders", len(w.bySender))
	}
}

func FuzzOpenFrame(f *testing.F) {
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: bytes.Repeat([]byte{7}, 100)}
	f.Add(sealed(f, someKey, owner, d, stamp{1, 2, 3})[targetSize:])
	f.Add([]byte("srtrelay"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := append(make([]byte, targetSize), b...)
		if got, _, ok := openFrame(in, owner, []frameKey{someKey}); ok {
			again := sealed(t, someKey, owner, got.Datagram, got.stamp)
			if !bytes.Equal(again[targetSize:], b) && len(b) == len(again)-targetSize {
				t.Errorf("opened %x, sealed again %x", b, again[targetSize:])
			}
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	buf := make([]byte, targetSize+maxFrame)
	d := Datagram{Caller: caller4, Local: here, Listener: 20080, Data: make([]byte, 1332)}
	b.SetBytes(1332)
	b.ReportAllocs()
	for b.Loop() {
		n := putDatagram(buf, owner, d)
		_ = someKey.seal(buf[:n], stamp{1, 2, 3})
	}
}
