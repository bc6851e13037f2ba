package srt

import (
	"bytes"
	"encoding/binary"
	"testing"

	"srtrelay/wire"
)

func TestControlPackets(t *testing.T) {
	dirty := bytes.Repeat([]byte{0xee}, MaxControl)
	const dest, stamp = 0xa1b2c3d4, 0x01020304
	tests := []struct {
		name string
		b    []byte
		typ  wire.ControlType
		size int
		info uint32
		cif  []uint32 // first words
	}{
		{"ACK", PutACK(bytes.Clone(dirty), dest, stamp, 7, 99), wire.TypeACK, 44, 7, []uint32{99}},
		{"ACKACK", PutACKACK(bytes.Clone(dirty), dest, stamp, 7), wire.TypeACKACK, 20, 7, []uint32{0}},
		{"keepalive", PutKeepalive(bytes.Clone(dirty), dest, stamp), wire.TypeKeepalive, 20, 0, []uint32{0}},
		{"shutdown", PutShutdown(bytes.Clone(dirty), dest, stamp), wire.TypeShutdown, 20, 0, []uint32{0}},
		{"NAK of one", PutNAK(bytes.Clone(dirty), dest, stamp, 5, 5), wire.TypeNAK, 20, 0, []uint32{5}},
		{"NAK of three", PutNAK(bytes.Clone(dirty), dest, stamp, 5, 7), wire.TypeNAK, 24, 0, []uint32{5 | 1<<31, 7}},
	}
	for _, tt := range tests {
		p := wire.Packet(tt.b)
		if !p.Is(tt.typ) || len(tt.b) != tt.size || p.TypeInfo() != tt.info || p.DestID() != dest || p.Timestamp() != stamp {
			t.Errorf("%s: % x", tt.name, tt.b)
		}
		for i, want := range tt.cif {
			if got := binary.BigEndian.Uint32(tt.b[wire.HeaderSize+4*i:]); got != want {
				t.Errorf("%s: word %d is %#x, want %#x", tt.name, i, got, want)
			}
		}
	}
}
