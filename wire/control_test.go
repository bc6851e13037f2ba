package wire

import (
	"encoding/binary"
	"reflect"
	"testing"
)

// control builds a control packet of 32-bit words behind the header.
func control(t ControlType, subtype uint16, words ...uint32) Packet {
	b := make([]byte, HeaderSize)
	PutControl(b, t, 0, 0)
	binary.BigEndian.PutUint16(b[2:], subtype)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

func TestAhead(t *testing.T) {
	for _, c := range []struct {
		seq, of uint32
		want    int32
	}{
		{5, 5, 0},
		{6, 5, 1},
		{5, 6, -1},
		{0, SequenceMask, 1},
		{SequenceMask, 0, -1},
		{10, SequenceMask - 9, 20},
		{1<<30 - 1, 0, 1<<30 - 1},
		{1 << 30, 0, -1 << 30},
	} {
		if got := Ahead(c.seq, c.of); got != c.want {
			t.Errorf("Ahead(%d, %d) = %d, want %d", c.seq, c.of, got, c.want)
		}
	}
}

func TestSubtype(t *testing.T) {
	if p := control(TypeUser, SubtypeKMReq); p.Subtype() != SubtypeKMReq || p.Control() != TypeUser {
		t.Errorf("subtype %d of type %d", p.Subtype(), p.Control())
	}
}

func TestACK(t *testing.T) {
	words := []uint32{100, 2000, 300, 8000, 500, 600, 70000, 8}
	full := ACK{Next: 100, RTT: 2000, RTTVar: 300, Buffer: 8000, PacketRate: 500, Capacity: 600, Full: true}
	rated := full
	rated.ByteRate, rated.HasByteRate = 70000, true
	for n, want := range map[int]ACK{
		1: {Next: 100, Lite: true},
		3: {Next: 100, Lite: true},
		4: {Next: 100, RTT: 2000, RTTVar: 300, Buffer: 8000},
		5: {Next: 100, RTT: 2000, RTTVar: 300, Buffer: 8000},
		6: full,
		7: rated,
		8: rated,
	} {
		got, ok := AsACK(control(TypeACK, 0, words[:n]...))
		if !ok || got != want {
			t.Errorf("%d words: %+v, %v; want %+v", n, got, ok, want)
		}
	}
	if _, ok := AsACK(control(TypeACK, 0)); ok {
		t.Error("an ACK of nothing is one")
	}
}

func TestLosses(t *testing.T) {
	const from = 1 << 31
	for name, c := range map[string]struct {
		words []uint32
		want  [][2]uint32
	}{
		"none":               {nil, nil},
		"single":             {[]uint32{7}, [][2]uint32{{7, 1}}},
		"range":              {[]uint32{from | 7, 9}, [][2]uint32{{7, 3}}},
		"mixed":              {[]uint32{1, from | 7, 9, 20}, [][2]uint32{{1, 1}, {7, 3}, {20, 1}}},
		"range of one":       {[]uint32{from | 7, 7}, [][2]uint32{{7, 1}}},
		"over the end":       {[]uint32{from | SequenceMask, 0}, [][2]uint32{{SequenceMask, 2}}},
		"range without end":  {[]uint32{1, from | 7}, [][2]uint32{{1, 1}}},
		"end before start":   {[]uint32{1, from | 9, 7, 30}, [][2]uint32{{1, 1}}},
		"range after a from": {[]uint32{from | 9, from | 10}, nil},
	} {
		var got [][2]uint32
		for first, n := range control(TypeNAK, 0, c.words...).Losses {
			got = append(got, [2]uint32{first, n})
		}
		if !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	for range control(TypeNAK, 0, 1, 2, 3).Losses {
		break
	}
}

func TestDropRange(t *testing.T) {
	for _, c := range []struct {
		words    []uint32
		first, n uint32
		ok       bool
	}{
		{[]uint32{5, 7}, 5, 3, true},
		{[]uint32{SequenceMask, 0}, SequenceMask, 2, true},
		{[]uint32{7, 5}, 7, 0, false},
		{[]uint32{7}, 0, 0, false},
	} {
		first, n, ok := control(TypeDropReq, 0, c.words...).DropRange()
		if ok != c.ok || ok && (first != c.first || n != c.n) {
			t.Errorf("%v: %d, %d, %v", c.words, first, n, ok)
		}
	}
}

// Whatever a peer sends, the views stay within it and loops end.
func FuzzControl(f *testing.F) {
	f.Add([]byte(control(TypeNAK, 0, 1<<31|7, 9, 1)))
	f.Add([]byte(control(TypeACK, 0, 1, 2, 3, 4, 5, 6, 7)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < HeaderSize {
			return
		}
		p := Packet(b)
		_ = p.Subtype()
		_, _ = AsACK(p)
		if _, n, ok := p.DropRange(); ok && (n == 0 || n > 1<<30) {
			t.Errorf("a range of %d", n)
		}
		ranges := 0
		for first, n := range p.Losses {
			if ranges++; first > SequenceMask || n == 0 || n > 1<<30 || ranges > len(b)/4 {
				t.Errorf("range %d, %d; %d in all", first, n, ranges)
			}
		}
	})
}

// An ACK is read as it was written, and has the length of libsrt's.
func TestAppendACK(t *testing.T) {
	want := ACK{Next: 1, RTT: 2, RTTVar: 3, Buffer: 4, PacketRate: 5, Capacity: 6, ByteRate: 7, Full: true, HasByteRate: true}
	p := Packet(AppendACK([]byte("x"), 0xFFFFFFFF, 9, 10, want)[1:])
	got, ok := AsACK(p)
	if len(p) != ACKSize || !p.Is(TypeACK) || p.TypeInfo() != 0xFFFFFFFF || p.Timestamp() != 9 || p.DestID() != 10 || !ok || got != want {
		t.Errorf("%x: %+v", []byte(p), got)
	}
}
