package tally

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"srtrelay/bench/srt"
)

const (
	// lateAfter is the lag from which a scheduled datagram counts as late, because the
	// measurement is no longer what was planned.
	lateAfter = time.Millisecond
	// Times are kept in ns, from 1 to a minute, with three digits.
	longest = int64(time.Minute)
	digits  = 3
)

// Book has all counts of one end. Only the end's loop uses it; only Report allocates.
type Book struct {
	Sent, Received Flow

	Lost, Duplicated, Reordered, Stale uint64
	// Unknown counts datagrams without a session, Foreign those from another address than
	// their session's, Unsent those that the kernel refused.
	Unknown, Foreign, Unsent uint64

	Attempted, Completed, Failed uint64 // handshakes
	Repeated                     uint64 // datagrams of handshakes that were sent again

	// Rejected counts by code; nil until there is one.
	Rejected map[uint32]uint64

	late                  uint64
	lag, latency, connect *hdrhistogram.Histogram
	begun, ended          mark
	marked, finished      bool
}

// mark is the state at one moment.
type mark struct {
	at                int64
	cpu               time.Duration
	sent, received    Flow
	completed, failed uint64
}

// NewBook returns an empty book.
func NewBook() *Book {
	h := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, longest, digits) }
	return &Book{lag: h(), latency: h(), connect: h()}
}

// See counts a check's verdict on a data packet.
func (b *Book) See(v srt.Verdict, missing uint32) {
	switch v {
	case srt.Gap:
		b.Lost += uint64(missing)
	case srt.Reordered:
		b.Reordered++
		b.Lost--
	case srt.Duplicated:
		b.Duplicated++
	case srt.Stale:
		b.Stale++
	}
}

// Latency records how long a data packet took, in ns.
func (b *Book) Latency(ns int64) { _ = b.latency.RecordValue(clamp(ns)) }

// Lag records how much later than planned a data packet was sent, in ns.
func (b *Book) Lag(ns int64) {
	_ = b.lag.RecordValue(clamp(ns))
	if ns > int64(lateAfter) {
		b.late++
	}
}

// Connect records a complete handshake, which took so many ns.
func (b *Book) Connect(ns int64) {
	b.Completed++
	_ = b.connect.RecordValue(clamp(ns))
}

// Reject counts a rejection by its code.
func (b *Book) Reject(code uint32) {
	if b.Rejected == nil {
		b.Rejected = map[uint32]uint64{}
	}
	b.Rejected[code]++
}

func clamp(ns int64) int64 { return min(max(ns, 1), longest) }

// Mark begins the measured window. Connect times begin anew as well.
func (b *Book) Mark(now int64) {
	b.lag.Reset()
	b.latency.Reset()
	b.connect.Reset()
	b.late = 0
	b.begun, b.marked, b.finished = b.now(now), true, false
}

// Finish ends the measured window.
func (b *Book) Finish(now int64) { b.ended, b.finished = b.now(now), true }

func (b *Book) now(at int64) mark {
	return mark{at, ProcessCPU(), b.Sent, b.Received, b.Completed, b.Failed}
}

// ProcessCPU is the CPU time of this process so far, user and system.
func ProcessCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// percentiles in µs.
func percentiles(h *hdrhistogram.Histogram) Percentiles {
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return Percentiles{
		Count: uint64(h.TotalCount()),
		P50:   us(h.ValueAtQuantile(50)), P90: us(h.ValueAtQuantile(90)), P99: us(h.ValueAtQuantile(99)),
		P999: us(h.ValueAtQuantile(99.9)), Max: us(h.Max()),
	}
}

func encoded(h *hdrhistogram.Histogram) (string, error) {
	if h.TotalCount() == 0 {
		return "", nil
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return "", fmt.Errorf("encode histogram: %w", err)
	}
	return string(text), nil
}
