package migration

import (
	"encoding/binary"
	"testing"
	"time"

	"srtrelay/internal/message"
	"srtrelay/wire"
)

const socketID = 0x42

func control(kind wire.ControlType, number uint32, words ...uint32) wire.Packet {
	b := make([]byte, wire.HeaderSize)
	wire.PutControl(b, kind, 0, socketID)
	binary.BigEndian.PutUint32(b[4:], number)
	for _, w := range words {
		b = binary.BigEndian.AppendUint32(b, w)
	}
	return b
}

// gosrt sends a backend's KEEPALIVE back as it came, with the backend's timestamp: what the
// caller's clock shows is not to be learned from it.
func TestKeepaliveTellsNoClock(t *testing.T) {
	var tr Trace
	tr.clock = 7
	for _, kind := range []wire.ControlType{wire.TypeKeepalive, wire.TypeHandshake, wire.TypeUser, wire.TypeShutdown} {
		b := control(kind, 0)
		b.SetTimestamp(1 << 30)
		tr.Note(time.Hour, 1000, b)
	}
	if tr.clock != 7 || tr.hasData {
		t.Errorf("trace %+v", tr)
	}
	b := control(wire.TypeACK, 1, 2)
	b.SetTimestamp(3_000_000)
	if tr.Note(time.Second, 1001, b); tr.clock != 2_000_000 {
		t.Errorf("clock %d after an ACK", tr.clock)
	}
}

// Another process reads the times of a trace by its own origin.
func TestTraceOutlivesTakeOver(t *testing.T) {
	want := Trace{at: 9000, packets: 1, spacing: 2, clock: 3, sequence: 4, sequencePackets: 5, hasData: true, encrypted: true}
	b := want.Append(nil, message.Clock{Origin: 3 * time.Second})
	var got Trace
	if err := got.Read(message.Read(b), message.Clock{Origin: time.Second}); err != nil {
		t.Fatal(err)
	}
	want.at += 2000
	want.clock -= 2_000_000
	if got != want {
		t.Errorf("read %+v, want %+v", got, want)
	}
}
