package srt

import (
	"bytes"
	"testing"

	"srtrelay/wire"
)

// Every field of a data packet, as the product's parser reads it.
func TestSourcePut(t *testing.T) {
	s := NewSource(MaxSequence)
	b := bytes.Repeat([]byte{0xee}, DataSize)
	for i, want := range []uint32{MaxSequence, 0, 1} {
		s.Put(b, 0xa1b2c3d4, 77, 9, 1000+int64(i), 900+int64(i))
		p := wire.Packet(b)
		if p.IsControl() || p.Sequence() != want || p.DestID() != 0xa1b2c3d4 || p.Timestamp() != 77 {
			t.Fatalf("packet %d: % x", i, b[:16])
		}
		if got := p.TypeInfo(); got != 3<<30|uint32(i+1) {
			t.Errorf("packet %d: message word %#x", i, got)
		}
		stamp, ok := ReadStamp(b)
		if wanted := (Stamp{9, uint64(i), 1000 + int64(i), 900 + int64(i)}); !ok || stamp != wanted {
			t.Errorf("packet %d: %+v %v, want %+v", i, stamp, ok, wanted)
		}
	}
	if s.Sent() != 3 {
		t.Errorf("sent %d", s.Sent())
	}
	if b[DataSize-1] != 0xee {
		t.Error("the payload behind the stamp was written")
	}
}

// Message number 0 would make a packet filter packet of it.
func TestMessageNumberSkipsZero(t *testing.T) {
	s := Source{message: maxMessage}
	b := make([]byte, DataSize)
	s.Put(b, 1, 1, 1, 1, 1)
	if got := wire.Packet(b).TypeInfo(); got != 3<<30|1 {
		t.Errorf("after the last message number comes %#x", got)
	}
}

func TestStampOfOthers(t *testing.T) {
	b := make([]byte, DataSize)
	s := NewSource(1)
	s.Put(b, 1, 1, 1, 1, 1)
	if _, ok := ReadStamp(b[:wire.HeaderSize+31]); ok {
		t.Error("a stamp of 31 bytes")
	}
	b[wire.HeaderSize+3]++
	if _, ok := ReadStamp(b); ok {
		t.Error("a stamp without the magic number")
	}
}
