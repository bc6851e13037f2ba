package migration

import (
	"encoding/binary"
	"testing"
	"time"

	"srtrelay/internal/message"
	"srtrelay/observe/telemetry"
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

// The bug: how far a timestamp from another address may be from what it should be grew with the age
// of the session, and after four months any was good.
func TestTimestampToleranceOfAnOldSession(t *testing.T) {
	const age = 130 * 24 * time.Hour
	timely := func(tr *Trace, off time.Duration) bool {
		p := control(wire.TypeACK, 1, 2)
		p.SetTimestamp(tr.clock + micros(age+off))
		return tr.Timely(p, age, time.Second, new(telemetry.Terms))
	}
	ack := control(wire.TypeACK, 65, 2)
	ack.SetTimestamp(4_000_000_000)
	fresh := NewTrace(time.Second, time.Second, 5)
	fresh.Note(age-time.Minute, 65, ack)
	kernel := NewTrace(time.Second, time.Second, 5)
	if !TellsClock(ack) {
		t.Fatal("an ACK tells no clock")
	}
	kernel.NoteClock(age-time.Minute, ack)
	for name, tr := range map[string]*Trace{"in user space": &fresh, "in the kernel": &kernel} {
		if !timely(tr, 900*time.Millisecond) || !timely(tr, -900*time.Millisecond) {
			t.Errorf("%s: less than a second off is not timely", name)
		}
		if timely(tr, 2*time.Second) || timely(tr, -2*time.Second) {
			t.Errorf("%s: two seconds off are timely", name)
		}
	}
	never := NewTrace(time.Second, time.Second, 5) // it was idle
	if !timely(&never, 50*time.Second) || timely(&never, 2*time.Minute) || timely(&never, -2*time.Minute) {
		t.Error("idle: not what the drift of a minute allows")
	}
	if never.clockAge(0) != 0 {
		t.Error("a clock that is ahead has an age")
	}
}

// Another process reads the times of a trace by its own origin.
func TestTraceOutlivesTakeOver(t *testing.T) {
	want := Trace{at: 9000, packets: 1, spacing: 2, clock: 3, sequence: 4, sequencePackets: 5, hasData: true, encrypted: true, clockAt: 6}
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
