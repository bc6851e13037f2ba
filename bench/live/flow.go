//go:build linux

package live

import (
	"srtrelay/bench/srt"
	"srtrelay/wire"
)

// Ledger is what one end of a session has counted.
type Ledger struct {
	// Caller is the socket ID of the session's caller, which both ends know and
	// which no other session of a run has.
	Caller uint32 `json:"caller"`
	Stream string `json:"stream,omitempty"`
	// Server is the number of the server, -1 while a caller has received
	// nothing from it.
	Server int `json:"server"`

	Sent     uint64 `json:"sent"` // data, of this end
	Received uint64 `json:"received"`
	// Lost is the numbers missing below the highest that came. What is lost at
	// the very end leaves no gap: only Sent of the other end tells of it.
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"` // came late, and are not lost
	// End is why the session ended, "" while it is open.
	End End `json:"end,omitempty"`
	// At is when it ended, on CLOCK_MONOTONIC in ns.
	At int64 `json:"at,omitempty"`
}

// End is why a session ended.
type End string

// The ends.
const (
	// Planned is a SHUTDOWN of the caller, which has sent and received everything.
	Planned End = "planned"
	// Redialled is a SHUTDOWN of a caller that connects again at once: data to it may be under
	// way.
	Redialled End = "redialled"
	// Incomplete is a SHUTDOWN of a caller that has waited in vain for the rest of its
	// data.
	Incomplete End = "incomplete"
	// HungUp is a SHUTDOWN from the other side.
	HungUp End = "hung up"
	// TimedOut is silence of the other side.
	TimedOut End = "timed out"
)

// flow is the traffic of one end of a session. It belongs to one loop.
type flow struct {
	ledger Ledger
	check  srt.Check
	source srt.Source
	acks   srt.ACKs
	peer   uint32 // the other end's socket ID
	every  int64  // ns between two data packets, 0 for none
	due    int64  // of the next
	limit  uint64 // data packets to send in all, 0 for no limit
	heard  int64
	spoke  int64
}

func newFlow(caller, peer, isn uint32, now int64) flow {
	return flow{
		ledger: Ledger{Caller: caller, Server: -1}, check: srt.NewCheck(isn), source: srt.NewSource(isn), acks: srt.NewACKs(caller, srt.ACKEvery),
		peer: peer, heard: now, spoke: now,
	}
}

// pace begins to send data, rate packets per second and limit in all.
func (f *flow) pace(rate float64, limit uint64, now int64) {
	f.every, f.limit = 0, limit
	if rate > 0 {
		f.every = int64(float64(second) / rate)
		// Sessions that connect at once do not send at once.
		f.due = now + int64(f.ledger.Caller)*7919%f.every
	}
}

// pending reports whether a data packet is due.
func (f *flow) pending(now int64) bool {
	return f.every > 0 && now >= f.due && (f.limit == 0 || f.ledger.Sent < f.limit)
}

// done reports whether all of a limited flow is sent.
func (f *flow) done() bool { return f.limit > 0 && f.ledger.Sent >= f.limit }

// put writes the next data packet into b, and when it is due after that. A
// late sender sends all that was due in the meantime, one by one.
func (f *flow) put(b []byte, timestamp, mark uint32, now int64) []byte {
	f.source.Put(b[:srt.DataSize], f.peer, timestamp, mark, now, f.due)
	f.ledger.Sent++
	f.due += f.every
	f.spoke = now
	return b[:srt.DataSize]
}

// handle handles a packet of an established session, and appends the answers to it. over is
// true for a SHUTDOWN.
func (f *flow) handle(p wire.Packet, timestamp uint32, now int64, answer func(write func(b []byte) []byte)) (over bool) {
	f.heard = now
	if !p.IsControl() {
		f.data(p, timestamp, now, answer)
		return false
	}
	switch p.Control() {
	case wire.TypeACK:
		// A light ACK has number 0 and wants no answer.
		if number := p.TypeInfo(); number != 0 {
			f.spoke = now
			answer(func(b []byte) []byte { return srt.PutACKACK(b, f.peer, timestamp, number) })
		}
	case wire.TypeShutdown:
		return true
	}
	return false
}

func (f *flow) data(p wire.Packet, timestamp uint32, now int64, answer func(write func(b []byte) []byte)) {
	l := &f.ledger
	l.Received++
	expected := f.check.Next()
	verdict, missing := f.check.See(p.Sequence())
	switch verdict {
	case srt.Gap:
		l.Lost += uint64(missing)
		last := (expected + missing - 1) & srt.MaxSequence
		answer(func(b []byte) []byte { return srt.PutNAK(b, f.peer, timestamp, expected, last) })
	case srt.Reordered:
		l.Reordered++
		l.Lost--
	case srt.Duplicated, srt.Stale:
		l.Duplicated++
		l.Received--
	}
	if number, due := f.acks.Count(); due {
		f.spoke = now
		answer(func(b []byte) []byte { return srt.PutACK(b, f.peer, timestamp, number, f.check.Next()) })
	}
}
