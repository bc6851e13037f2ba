package shield_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/shard/shield"
	"srtrelay/wire"
)

// starts are sequence numbers about which the cases are made: with the wrap on either side.
var starts = []uint32{1_000_000_000, 0, 3, wire.SequenceMask, wire.SequenceMask - 3, 1 << 30}

func TestCheck(t *testing.T) {
	for _, next := range starts {
		for _, c := range append(srttest.MalformedControls(next), srttest.SoundControls(next)...) {
			t.Run(fmt.Sprintf("%d/%s", next, c.Name), func(t *testing.T) {
				for _, known := range []bool{false, true} {
					want := c.Kind
					if want == "" || c.NeedsData && !known {
						want = "pass"
					}
					if got := shield.Check(c.Packet, shield.Progress{Next: next, Known: known}); got.String() != want {
						t.Errorf("known %v: %s, want %s", known, got, want)
					}
				}
			})
		}
	}
}

// The window of a DROPREQ is counted from the newest packet, whose sequence number wraps.
func TestDropReqAtTheWindow(t *testing.T) {
	for _, next := range starts {
		for _, c := range []struct {
			first, last int
			passes      bool
		}{
			{-shield.Window + 1, -shield.Window + 1, true},
			{-shield.Window, -shield.Window, false},
			{-shield.Window, -shield.Window + 1, true},
			{shield.Window - 1, shield.Window - 1, true},
			{shield.Window, shield.Window, false},
			{shield.Window - 1, shield.Window, true},
			{-shield.Window + 1, 0, true},
			{-shield.Window, 0, false},
		} {
			p := srttest.Control(wire.TypeDropReq, 0, (next+uint32(c.first))&wire.SequenceMask, (next+uint32(c.last))&wire.SequenceMask)
			if got := shield.Check(p, shield.Progress{Next: next, Known: true}); (got == shield.VerdictPass) != c.passes {
				t.Errorf("[%d, %d] about %d: %s", c.first, c.last, next, got)
			}
		}
	}
}

// obeys checks a packet that has passed again, in other words than the package.
func obeys(p wire.Packet, progress shield.Progress) error {
	n := len(p) - wire.HeaderSize
	word := func(i int) uint32 { return binary.BigEndian.Uint32(p[wire.HeaderSize+4*i:]) }
	switch p.Control() {
	case wire.TypeUser:
		switch sub := p.Subtype(); {
		case (sub == wire.SubtypeKMReq || sub == wire.SubtypeKMRsp) && (n > 104 || n%4 != 0 || n < 4):
			return fmt.Errorf("key material of %d bytes", n)
		case (sub == wire.SubtypeHSReq || sub == wire.SubtypeHSRsp) && (n < 8 || n > 16):
			return fmt.Errorf("features of %d bytes", n)
		}
	case wire.TypeACK:
		if a, ok := wire.AsACK(p); !ok || a.Next > wire.SequenceMask || n%4 != 0 || !a.Lite && !a.Full && n != 16 || a.Lite && n != 4 {
			return fmt.Errorf("ACK of %d bytes: %+v", n, a)
		}
	case wire.TypeNAK:
		named := 0
		for range p.Losses {
			named++
		}
		ranges := 0
		for i := range n / 4 {
			ranges += int(word(i) >> 31)
		}
		if n%4 != 0 || n == 0 || named+ranges != n/4 {
			return fmt.Errorf("NAK of %d bytes with %d ranges names %d", n, ranges, named)
		}
	case wire.TypeDropReq:
		if _, count, ok := p.DropRange(); !ok || n != 8 || count > 1<<20 || (word(0)|word(1))>>31 != 0 {
			return fmt.Errorf("DROPREQ of %d bytes drops %d", n, count)
		}
		if progress.Known && wire.Ahead(word(1), progress.Next) <= -1<<20 {
			return fmt.Errorf("DROPREQ far behind")
		}
	case wire.TypeHandshake:
		h, ok := wire.AsHandshake(p)
		if !ok && p.Subtype() == 0 && p[1] == 0 && len(p) < wire.HandshakeSize {
			return fmt.Errorf("handshake of %d bytes", n)
		}
		if !ok {
			return nil
		}
		for b := range h.Blocks {
			if (b.Type == wire.BlockKMReq || b.Type == wire.BlockKMRsp) && b.Size > 104 {
				return fmt.Errorf("key material of %d bytes", b.Size)
			}
		}
	case wire.TypeKeepalive, wire.TypeShutdown, wire.TypeACKACK, wire.TypeCongestion, wire.TypePeerError:
		if n > 64 {
			return fmt.Errorf("%d bytes of padding", n)
		}
	}
	return nil
}

// Check never panics, changes nothing, and what passes is well-formed.
func FuzzCheck(f *testing.F) {
	for _, c := range append(srttest.MalformedControls(7), srttest.SoundControls(7)...) {
		f.Add([]byte(c.Packet), uint32(7), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, next uint32, known bool) {
		if len(b) < wire.HeaderSize || !wire.Packet(b).IsControl() {
			return
		}
		progress := shield.Progress{Next: next & wire.SequenceMask, Known: known}
		before := string(b)
		v := shield.Check(wire.Packet(b), progress)
		if v == shield.VerdictPass {
			if err := obeys(wire.Packet(b), progress); err != nil {
				t.Error(err)
			}
		}
		if string(b) != before {
			t.Error("the packet has changed")
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, c := range srttest.SoundControls(7) {
		switch c.Name {
		case "full ACK", "long NAK", "KEEPALIVE of 4 bytes":
			b.Run(c.Name, func(b *testing.B) {
				for b.Loop() {
					shield.Check(c.Packet, shield.Progress{})
				}
			})
		}
	}
}

// Nothing that real peers were seen to send is dropped. What they send in the end-to-end
// tests is not either: those fail if the shield has dropped anything.
func TestCapturedPasses(t *testing.T) {
	text, err := os.ReadFile("testdata/captured.txt")
	if err != nil {
		t.Fatal(err)
	}
	kinds := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		name, digits, found := strings.Cut(strings.TrimSpace(line), "\t")
		if !found {
			continue
		}
		p, err := hex.DecodeString(digits)
		if err != nil {
			t.Fatal(err)
		}
		if got := shield.Check(p, shield.Progress{}); got != shield.VerdictPass {
			t.Errorf("%s: %s: %s", name, got, digits)
		}
		kinds[fmt.Sprintf("%d.%d", wire.Packet(p).Control(), wire.Packet(p).Subtype())]++
	}
	for _, kind := range []string{"0.0", "1.0", "2.0", "3.0", "5.0", "6.0", "32767.3", "32767.4"} {
		if kinds[kind] == 0 {
			t.Errorf("no packet of type %s", kind)
		}
	}
}
