package ledger

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"srtrelay/addr"
)

func from(s string) addr.AddrPort { return addr.From(netip.MustParseAddrPort(s)) }

func example() Header {
	return Header{
		Boot: [16]byte{1, 2, 3}, PID: 4711, Nonce: 0xFEEDFACE, Shards: 2, PerShard: 4,
		Listen:    []addr.AddrPort{from("[::]:20080"), from("192.0.2.1:20081"), from("[fe80::1%3]:20082")},
		Heartbeat: 100 * time.Second,
	}
}

func record(n uint32) Record {
	return Record{
		Caller: from("198.51.100.7:40000"), Local: addr.FromIP(netip.MustParseAddr("192.0.2.9")),
		CallerID: 1000 + n, Gen: 1 + n, Listener: uint8(n % 3),
	}
}

// file is a ledger with a record at places 0 and 3 of shard 0 and 1 of shard 1.
func file(t testing.TB, h Header) []byte {
	t.Helper()
	b := make([]byte, h.Size())
	if err := h.Encode(b); err != nil {
		t.Fatal(err)
	}
	for n, at := range [][2]int{{0, 0}, {0, 3}, {1, 1}} {
		rec := record(uint32(n))
		h.Region(b, at[0]).Put(at[1], &rec)
	}
	return b
}

// read decodes a whole file.
func read(b []byte) (all []Record, damaged int, err error) {
	h, err := Decode(b, int64(len(b)))
	if err != nil {
		return nil, 0, err
	}
	damaged = h.Scan(0, b, func(r Record) { all = append(all, r) })
	return all, damaged, nil
}

func TestRoundTrip(t *testing.T) {
	h := example()
	b := file(t, h)
	got, err := Decode(b, int64(len(b)))
	if err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%+v, %v; want %+v", got, err, h)
	}
	all, damaged, err := read(b)
	if want := []Record{record(0), record(1), record(2)}; err != nil || damaged != 0 || !reflect.DeepEqual(all, want) {
		t.Errorf("%+v, %d damaged, %v; want %+v", all, damaged, err, want)
	}
	h.Region(b, 0).Clear(3)
	if all, damaged, _ := read(b); len(all) != 2 || damaged != 0 {
		t.Errorf("after Clear: %+v, %d damaged", all, damaged)
	}
	// In pieces, as it lies in the file.
	n := 0
	for off := int64(0); off < h.Size(); off += 1 << 15 {
		h.Scan(off, b[off:min(off+1<<15, h.Size())], func(Record) { n++ })
	}
	if n != 2 {
		t.Errorf("%d records read in pieces, want 2", n)
	}
}

func TestMostListenAddressesFit(t *testing.T) {
	h := example()
	h.Listen = make([]addr.AddrPort, MaxListen)
	if err := h.Encode(make([]byte, HeaderSize)); err != nil {
		t.Error(err)
	}
	h.Listen = make([]addr.AddrPort, MaxListen+1)
	if h.Encode(make([]byte, HeaderSize)) == nil {
		t.Error("one too many accepted")
	}
}

// Whatever bit of the header or of a record flips: the file, or that record, is
// not used. The heartbeat has no checksum, for it changes.
func TestEveryBitCounts(t *testing.T) {
	h := example()
	b := file(t, h)
	want, _, _ := read(b)
	flip := func(bit int) { b[bit/8] ^= 1 << (bit % 8) }
	for bit := range (atListen + 4*listenSize) * 8 {
		flip(bit)
		all, _, err := read(b)
		flip(bit)
		heartbeat := bit/8 >= atHeartbeat && bit/8 < atHeartbeat+8
		switch {
		case heartbeat && (err != nil || !slices.Equal(all, want)):
			t.Fatalf("bit %d of the heartbeat: %+v, %v", bit, all, err)
		case !heartbeat && err == nil:
			t.Fatalf("bit %d of the header goes unnoticed", bit)
		}
	}
	for bit := HeaderSize * 8; bit < len(b)*8; bit++ {
		var all []Record
		flip(bit)
		// The header is as before: reading it again would compute its checksum each time.
		damaged := h.Scan(0, b, func(r Record) { all = append(all, r) })
		flip(bit)
		if damaged > 1 || len(all) < len(want)-1 {
			t.Fatalf("bit %d: %d records, %d damaged", bit, len(all), damaged)
		}
		for _, r := range all {
			if !slices.Contains(want, r) {
				t.Fatalf("bit %d makes a record %+v", bit, r)
			}
		}
	}
}

func TestTornRecordIsDamaged(t *testing.T) {
	h := example()
	b := file(t, h)
	whole := bytes.Clone(b[HeaderSize:][:RecordSize])
	for n := atGen + 4; n < RecordSize-1; n++ {
		h.Region(b, 0).Clear(0)
		copy(b[HeaderSize:], whole[:n])
		if all, damaged, _ := read(b); len(all) != 2 || damaged != 1 {
			t.Errorf("%d of %d bytes written: %d records, %d damaged", n, RecordSize, len(all), damaged)
		}
	}
}

// A record at another's place, or left by an earlier process, is none.
func TestRecordsOfOtherPlacesAndFiles(t *testing.T) {
	h := example()
	b := file(t, h)
	copy(b[HeaderSize+RecordSize:], b[HeaderSize:][:RecordSize])
	if all, damaged, _ := read(b); len(all) != 3 || damaged != 1 {
		t.Errorf("moved: %d records, %d damaged", len(all), damaged)
	}
	h.Nonce++
	if err := h.Encode(b); err != nil {
		t.Fatal(err)
	}
	if all, damaged, _ := read(b); len(all) != 0 || damaged != 4 {
		t.Errorf("of another file: %d records, %d damaged", len(all), damaged)
	}
}

func TestUnusable(t *testing.T) {
	h := example()
	good := file(t, h)
	change := func(fn func([]byte)) []byte {
		b := bytes.Clone(good)
		fn(b)
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want error
	}{
		"empty":         {nil, ErrTruncated},
		"half a header": {good[:HeaderSize/2], ErrTruncated},
		"no records":    {good[:HeaderSize], ErrTruncated},
		"last record":   {good[:len(good)-1], ErrTruncated},
		"zeros":         {make([]byte, len(good)), ErrNoLedger},
		"version":       {change(func(b []byte) { b[atVersion]++ }), ErrVersion},
		"record size":   {change(func(b []byte) { b[atRecord]++ }), ErrVersion},
		"shards":        {change(func(b []byte) { b[atShards]++ }), ErrNoLedger},
	} {
		if _, err := Decode(c.b, int64(len(c.b))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		boot [16]byte
		now  time.Duration
		want error
	}{
		"just now":   {h.Boot, h.Heartbeat, nil},
		"young":      {h.Boot, h.Heartbeat + MaxAge, nil},
		"old":        {h.Boot, h.Heartbeat + MaxAge + 1, ErrOld},
		"the future": {h.Boot, h.Heartbeat - 1, ErrNoLedger},
		"other boot": {[16]byte{9}, h.Heartbeat, ErrBoot},
	} {
		if err := h.Usable(c.boot, c.now); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	h.Heartbeat = -1 << 63
	if h.Usable(h.Boot, 0) == nil {
		t.Error("a negative heartbeat is taken")
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	h := example()
	b := make([]byte, h.Size())
	r := h.Region(b, 1)
	if n := testing.AllocsPerRun(100, func() {
		rec := record(1)
		r.Put(2, &rec)
		r.Clear(2)
		SetHeartbeat(b, 1)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPut(b *testing.B) {
	h := example()
	r := h.Region(make([]byte, h.Size()), 0)
	rec := record(1)
	for b.Loop() {
		r.Put(1, &rec)
	}
}

// FuzzRead feeds the reader what no relay has written: it neither panics nor
// reads beyond the file, and what it returns names a listener and a caller.
func FuzzRead(f *testing.F) {
	good := file(f, example())
	f.Add(good, 0, byte(0))
	f.Add(good, atShards, byte(0xFF))
	f.Add(good, atListens, byte(0xFF))
	f.Add(good[:HeaderSize+RecordSize], HeaderSize, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at int, x byte) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= x
		}
		if len(b) >= HeaderSize { // past the checksum of the header
			copy(b[atHeaderSum:], binarySum(b))
		}
		h, err := Decode(b, int64(len(b)))
		if err != nil {
			return
		}
		_ = h.Usable(h.Boot, h.Heartbeat)
		h.Scan(0, b, func(r Record) {
			if int(r.Listener) >= len(h.Listen) || r.Gen == 0 || r.CallerID == 0 || r.Caller.Port == 0 {
				t.Errorf("%+v with %d listen addresses", r, len(h.Listen))
			}
		})
	})
}

func binarySum(b []byte) []byte { return binary.LittleEndian.AppendUint64(nil, headerSum(b)) }
