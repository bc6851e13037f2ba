package checkpoint

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func example() Header {
	return Header{
		Boot: [16]byte{1, 2, 3}, PID: 4711, Nonce: 0xFEEDFACE, Shards: 2, PerShard: 4, SteerByCPU: true,
		Origin: time.Hour, Heartbeat: 100 * time.Hour, Failures: 1,
	}
}

// file is a checkpoint with records in places 0 and 3 of shard 0 and 1 of shard 1.
func file(t testing.TB, h Header) []byte {
	t.Helper()
	b := make([]byte, h.Size())
	h.Encode(b)
	for n, at := range [][2]int{{0, 0}, {0, 3}, {1, 1}} {
		if !h.Region(b, at[0]).Put(at[1], record(n)) {
			t.Fatal("a record is too long")
		}
	}
	return b
}

func record(n int) []byte { return []byte(strings.Repeat(fmt.Sprintf("record %d ", n), 20*(n+1))) }

// scan returns the shards and the records of a file.
func scan(b []byte) (all []string, damaged int, err error) {
	h, err := Decode(b, int64(len(b)))
	if err != nil {
		return nil, 0, err
	}
	damaged = h.Scan(0, b, func(shard int, record []byte) { all = append(all, fmt.Sprintf("%d %s", shard, record)) })
	return all, damaged, nil
}

func TestRoundTrip(t *testing.T) {
	h := example()
	b := file(t, h)
	if got, err := Decode(b, int64(len(b))); err != nil || !reflect.DeepEqual(got, h) {
		t.Errorf("%+v, %v; want %+v", got, err, h)
	}
	all, damaged, err := scan(b)
	want := []string{"0 " + string(record(0)), "0 " + string(record(1)), "1 " + string(record(2))}
	if err != nil || damaged != 0 || !slices.Equal(all, want) {
		t.Errorf("%q, %d damaged, %v; want %q", all, damaged, err, want)
	}
	h.Region(b, 0).Clear(3)
	if all, damaged, _ := scan(b); len(all) != 2 || damaged != 0 {
		t.Errorf("after Clear: %q, %d damaged", all, damaged)
	}
	if h.Region(b, 0).Put(0, make([]byte, MostRecord+1)) {
		t.Error("a record that is too long is put")
	}
	if all, damaged, _ := scan(b); len(all) != 1 || damaged != 0 {
		t.Errorf("after one that is too long: %q, %d damaged", all, damaged)
	}
	n := 0
	for off := int64(0); off < h.Size(); off += HeaderSize { // in pieces, as it lies in the file
		h.Scan(off, b[off:min(off+HeaderSize, h.Size())], func(int, []byte) { n++ })
	}
	if n != 1 {
		t.Errorf("%d records read in pieces, want 1", n)
	}
}

// A process may be killed at any store: its slot is then empty, as it was, or damaged.
func TestTornRecords(t *testing.T) {
	h := example()
	for name, before := range map[string][]byte{"new": nil, "replaced": record(7)} {
		b := file(t, h)
		if before != nil {
			h.Region(b, 0).Put(0, before)
		} else {
			h.Region(b, 0).Clear(0)
		}
		was := bytes.Clone(b[HeaderSize:][:SlotSize])
		h.Region(b, 0).Put(0, record(3))
		whole := bytes.Clone(b[HeaderSize:][:SlotSize])
		for n := range SlotSize {
			copy(b[HeaderSize:], was)
			copy(b[HeaderSize:], whole[:n])
			all, damaged, err := scan(b)
			ok := damaged == 1 && len(all) == 2 || damaged == 0 && len(all) == 2 ||
				len(all) == 3 && (all[0] == "0 "+string(record(3)) || all[0] == "0 "+string(before))
			if err != nil || !ok {
				t.Fatalf("%s, %d bytes written: %q, %d damaged, %v", name, n, all, damaged, err)
			}
		}
	}
}

// A record at another's place, or left by an earlier process, is none.
func TestRecordsOfOtherPlacesAndFiles(t *testing.T) {
	h := example()
	b := file(t, h)
	copy(b[HeaderSize+SlotSize:], b[HeaderSize:][:SlotSize])
	if all, damaged, _ := scan(b); len(all) != 3 || damaged != 1 {
		t.Errorf("moved: %q, %d damaged", all, damaged)
	}
	h.Nonce++
	h.Encode(b)
	if all, damaged, _ := scan(b); len(all) != 0 || damaged != 4 {
		t.Errorf("of another file: %q, %d damaged", all, damaged)
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
		"empty":     {nil, ErrTruncated},
		"no slots":  {good[:HeaderSize], ErrTruncated},
		"last slot": {good[:len(good)-1], ErrTruncated},
		"zeros":     {make([]byte, len(good)), ErrForeign},
		"version":   {change(func(b []byte) { b[atVersion]++ }), ErrVersion},
		"slot size": {change(func(b []byte) { b[atSlot]++ }), ErrVersion},
		"shards":    {change(func(b []byte) { b[atShards]++ }), ErrForeign},
		"origin":    {change(func(b []byte) { b[atOrigin]++ }), ErrForeign},
	} {
		if _, err := Decode(c.b, int64(len(c.b))); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		change func(*Header)
		want   string
	}{
		"as it is":       {func(*Header) {}, "<nil>"},
		"other boot":     {func(h *Header) { h.Boot[0]++ }, ErrBoot.Error()},
		"the future":     {func(h *Header) { h.Heartbeat += 2 * time.Hour }, ErrForeign.Error()},
		"no origin":      {func(h *Header) { h.Origin = 0 }, ErrForeign.Error()},
		"shards":         {func(h *Header) { h.Shards = 3 }, "it has 3 shards, this process 2"},
		"steer":          {func(h *Header) { h.SteerByCPU = false }, "callers were spread over the shards in another way (--steer)"},
		"failed starts":  {func(h *Header) { h.Failures = MostFailures }, "2 starts with it have failed within 10s each"},
		"failed a start": {func(h *Header) { h.Failures = MostFailures - 1 }, "<nil>"},
	} {
		changed := h
		c.change(&changed)
		if err := changed.Usable(h.Boot, h.Heartbeat+time.Hour, 2, true); fmt.Sprint(err) != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

// memory is a file of a length.
type memory struct{ b []byte }

func (m *memory) WriteAt(b []byte, at int64) (int, error) {
	if end := int(at) + len(b); end > len(m.b) {
		m.b = append(m.b, make([]byte, end-len(m.b))...)
	}
	return copy(m.b[at:], b), nil
}

func (m *memory) ReadAt(b []byte, at int64) (int, error) {
	if at > int64(len(m.b)) {
		return 0, errors.New("beyond the end")
	}
	return copy(b, m.b[at:]), nil
}

// The state is the last that was written whole.
func TestState(t *testing.T) {
	h := Header{Nonce: 3, Shards: 1, PerShard: 1}
	m := &memory{b: make([]byte, h.Size())}
	if _, err := h.State(m); !errors.Is(err, ErrNoState) {
		t.Errorf("%v", err)
	}
	w := h.StateWriter(m)
	for n := range 4 {
		if err := w.Write(record(n)); err != nil {
			t.Fatal(err)
		}
		if got, err := h.State(m); err != nil || !bytes.Equal(got, record(n)) {
			t.Errorf("state %d: %q, %v", n, got, err)
		}
	}
	// The next one is torn.
	if _, err := m.WriteAt([]byte("torn"), h.Size()+stateSize+stateHeader); err != nil {
		t.Fatal(err)
	}
	m.b[h.Size()+stateSize]++
	if got, err := h.State(m); err != nil || !bytes.Equal(got, record(3)) {
		t.Errorf("after a torn one: %q, %v", got, err)
	}
	if err := w.Write(make([]byte, MostState+1)); err == nil {
		t.Error("a state that is too long is written")
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	h := example()
	b := make([]byte, h.Size())
	r, one := h.Region(b, 1), record(1)
	if n := testing.AllocsPerRun(100, func() {
		r.Put(2, one)
		r.Clear(2)
		SetHeartbeat(b, 1)
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzRead feeds the reader what no relay has written: it neither panics nor reads beyond the
// file.
func FuzzRead(f *testing.F) {
	good := file(f, example())
	f.Add(good, 0, byte(0))
	f.Add(good, atShards, byte(0xFF))
	f.Add(good, atPerShard, byte(0xFF))
	f.Add(good, HeaderSize+atLength, byte(0xFF))
	f.Add(good[:HeaderSize+SlotSize], HeaderSize, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, at int, x byte) {
		b = bytes.Clone(b)
		if at >= 0 && at < len(b) {
			b[at] ^= x
		}
		if len(b) >= HeaderSize { // past the checksum of the header
			binary.LittleEndian.PutUint64(b[atSum:], crc64.Checksum(b[:atSum], polynomial))
		}
		h, err := Decode(b, int64(len(b)))
		if err != nil {
			return
		}
		_ = h.Usable(h.Boot, h.Heartbeat, h.Shards, h.SteerByCPU)
		h.Scan(0, b, func(shard int, record []byte) {
			if shard >= h.Shards || len(record) > MostRecord || len(record) == 0 {
				t.Errorf("shard %d of %d, %d bytes", shard, h.Shards, len(record))
			}
		})
		_, _ = h.State(bytes.NewReader(b))
	})
}
