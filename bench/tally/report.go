package tally

import (
	"fmt"
	"maps"
)

// ByKind is how many datagrams of each kind there were.
type ByKind struct {
	Data      uint64 `json:"data"`
	ACK       uint64 `json:"ack"`
	ACKACK    uint64 `json:"ackack"`
	NAK       uint64 `json:"nak"`
	Keepalive uint64 `json:"keepalive"`
	// Other is handshakes, SHUTDOWNs and unknown datagrams.
	Other uint64 `json:"other"`
	// Bytes of UDP payload of all of them.
	Bytes uint64 `json:"bytes"`
}

// Percentiles of a time, in microseconds.
type Percentiles struct {
	Count uint64  `json:"count"` // of values
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// Window is what happened between mark and stop.
type Window struct {
	Seconds  float64 `json:"seconds"`
	Sent     ByKind  `json:"sent"`
	Received ByKind  `json:"received"`
	// SentPerSecond and ReceivedPerSecond are datagrams of all kinds.
	SentPerSecond     float64 `json:"sent_per_second"`
	ReceivedPerSecond float64 `json:"received_per_second"`
}

// Handshakes are those since the end's start; after a mark, PerSecond and
// Connect are of the window.
type Handshakes struct {
	Attempted uint64  `json:"attempted"`
	Completed uint64  `json:"completed"`
	Failed    uint64  `json:"failed"`     // rejected, or unanswered in the connect timeout
	Repeated  uint64  `json:"repeated"`   // datagrams sent again for want of an answer
	PerSecond float64 `json:"per_second"` // completed
	// Rejected is how many of the failed ones were, by the code on the wire.
	Rejected map[uint32]uint64 `json:"rejected,omitempty"`
	// Connect is from the first INDUCTION to the CONCLUSION's answer.
	Connect Percentiles `json:"connect_us"`
}

// Report is the answer of one end: the whole of it to stop, the first fields
// and Handshakes when ready. Datagrams and losses count from the end's start,
// or from the last stop; rates and times from mark to stop.
type Report struct {
	Error    string `json:"error,omitempty"` // why a command was not obeyed
	Role     string `json:"role"`            // load or sink
	State    string `json:"state"`           // ready, started, marked, stopped
	Sessions int    `json:"sessions"`        // connected now
	HungUp   int    `json:"hung_up"`         // ended by a SHUTDOWN from the other side

	// Listen is a sink's addresses.
	Listen []string `json:"listen,omitempty"`

	Sent     ByKind `json:"sent"`
	Received ByKind `json:"received"`

	// Lost is the sequence numbers missing below the highest that came, of all sessions.
	// A loss at the very end of a session leaves no gap: only Sent at the other end shows
	// it.
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"` // came late and are not lost
	// Stale ones came more than 64 numbers late; they still count as lost.
	Stale   uint64 `json:"stale"`
	Unknown uint64 `json:"unknown"` // datagrams for no session
	Foreign uint64 `json:"foreign"` // datagrams from another address than their session's
	Unsent  uint64 `json:"unsent"`  // datagrams that the kernel refused; also in Sent

	// Late is data datagrams that left more than 1 ms after they were due, in
	// the window; Lag is by how much all of them did.
	Late uint64      `json:"late"`
	Lag  Percentiles `json:"lag_us"`
	// Latency is one way, from the send call of the sender to the arrival in
	// the receiver's network stack, of data datagrams that came in the window.
	Latency Percentiles `json:"latency_us"`
	// Histogram is Latency in HdrHistogram's compressed V2 form, base64; its
	// values are nanoseconds.
	Histogram string `json:"histogram,omitempty"`

	Window     Window     `json:"window"`
	Handshakes Handshakes `json:"handshakes"`
	// Bogus is handshakes of the flood.
	Bogus uint64 `json:"bogus,omitempty"`
	// CPUSeconds is the process's user and system time in the window.
	CPUSeconds float64 `json:"cpu_seconds"`
}

// Report returns the report of a book.
func (b *Book) Report() (Report, error) {
	r := Report{
		Sent: byKind(b.Sent), Received: byKind(b.Received),
		Lost: b.Lost, Duplicated: b.Duplicated, Reordered: b.Reordered, Stale: b.Stale,
		Unknown: b.Unknown, Foreign: b.Foreign, Unsent: b.Unsent,
		Late: b.late, Lag: percentiles(b.lag), Latency: percentiles(b.latency),
		Handshakes: b.handshakes(),
	}
	if b.marked && b.finished {
		b.window(&r)
	}
	text, err := encoded(b.latency)
	if err != nil {
		return r, fmt.Errorf("make report: %w", err)
	}
	r.Histogram = text
	return r, nil
}

func (b *Book) handshakes() Handshakes {
	return Handshakes{
		Attempted: b.Attempted, Completed: b.Completed, Failed: b.Failed, Repeated: b.Repeated,
		Rejected: maps.Clone(b.Rejected), Connect: percentiles(b.connect),
	}
}

func (b *Book) window(r *Report) {
	seconds := float64(b.ended.at-b.begun.at) / 1e9
	r.CPUSeconds = (b.ended.cpu - b.begun.cpu).Seconds()
	w := &r.Window
	w.Seconds = seconds
	w.Sent, w.Received = byKind(b.ended.sent.minus(b.begun.sent)), byKind(b.ended.received.minus(b.begun.received))
	if seconds > 0 {
		w.SentPerSecond = float64(w.Sent.Total()) / seconds
		w.ReceivedPerSecond = float64(w.Received.Total()) / seconds
		r.Handshakes.PerSecond = float64(b.ended.completed-b.begun.completed) / seconds
	}
}

func (f Flow) minus(g Flow) Flow { return Flow{f.Counts.minus(g.Counts), f.Bytes - g.Bytes} }

func byKind(f Flow) ByKind {
	c := f.Counts
	return ByKind{c[Data], c[ACK], c[ACKACK], c[NAK], c[Keepalive], c[Other], f.Bytes}
}

// Total returns the datagrams of all kinds.
func (k ByKind) Total() uint64 {
	return k.Data + k.ACK + k.ACKACK + k.NAK + k.Keepalive + k.Other
}
