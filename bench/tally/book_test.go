package tally

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"

	"srtrelay/bench/srt"
)

func report(t *testing.T, b *Book) Report {
	t.Helper()
	r, err := b.Report()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Counts go on over mark and stop; rates are of the window alone.
func TestWindow(t *testing.T) {
	b := NewBook()
	b.Sent.Add(Data, 1332)
	b.Mark(1e9)
	for range 10 {
		b.Sent.Add(Data, 1332)
		b.Received.Add(ACK, 44)
	}
	b.Connect(5000)
	b.Finish(3e9)
	b.Received.Add(ACK, 44) // while it drains
	r := report(t, b)
	if r.Sent.Data != 11 || r.Received.ACK != 11 || r.Sent.Bytes != 11*1332 {
		t.Errorf("in all: %+v %+v", r.Sent, r.Received)
	}
	w := r.Window
	if w.Seconds != 2 || w.Sent.Data != 10 || w.Received.ACK != 10 || w.SentPerSecond != 5 || w.ReceivedPerSecond != 5 {
		t.Errorf("window: %+v", w)
	}
	if r.Handshakes.PerSecond != 0.5 || r.Handshakes.Completed != 1 {
		t.Errorf("handshakes: %+v", r.Handshakes)
	}
}

// A mark forgets what was recorded before it.
func TestMarkResetsTimes(t *testing.T) {
	b := NewBook()
	b.Latency(9e6)
	b.Lag(9e6)
	b.Mark(0)
	b.Latency(20_000)
	b.Latency(-5) // clocks that differ by less than a datagram takes
	b.Lag(2e6)
	b.Lag(1000)
	b.Finish(1e9)
	r := report(t, b)
	if r.Latency.Count != 2 || r.Latency.Max < 19.9 || r.Latency.Max > 20.1 {
		t.Errorf("latency %+v", r.Latency)
	}
	if r.Late != 1 || r.Lag.Count != 2 {
		t.Errorf("%d late, lag %+v", r.Late, r.Lag)
	}
}

func TestVerdicts(t *testing.T) {
	b := NewBook()
	for _, v := range []srt.Verdict{srt.InOrder, srt.Duplicated, srt.Stale} {
		b.See(v, 0)
	}
	b.See(srt.Gap, 3)
	b.See(srt.Reordered, 0)
	r := report(t, b)
	if r.Lost != 2 || r.Reordered != 1 || r.Duplicated != 1 || r.Stale != 1 {
		t.Errorf("%+v", r)
	}
}

// Another program reads the histogram and can merge it.
func TestHistogramTravels(t *testing.T) {
	b := NewBook()
	for i := range int64(1000) {
		b.Latency(i * 1000)
	}
	text, err := json.Marshal(report(t, b))
	if err != nil {
		t.Fatal(err)
	}
	var r Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	h, err := hdrhistogram.Decode([]byte(r.Histogram))
	if err != nil {
		t.Fatal(err)
	}
	if h.TotalCount() != 1000 || h.ValueAtQuantile(50)/1000 != int64(r.Latency.P50) {
		t.Errorf("%d values, median %d ns, reported %v us", h.TotalCount(), h.ValueAtQuantile(50), r.Latency.P50)
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	b := NewBook()
	if n := testing.AllocsPerRun(1000, func() {
		b.Sent.Add(Data, 1332)
		b.Latency(12345)
		b.Lag(54321)
		b.See(srt.Gap, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSummaryTellsWhatCounts(t *testing.T) {
	b := NewBook()
	b.Mark(0)
	b.Lost, b.Attempted, b.Failed = 17, 5, 3
	b.Latency(20_000)
	b.Finish(2e9)
	r := report(t, b)
	r.Role, r.Bogus = "load", 99
	var out strings.Builder
	if err := r.Summary(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"load: 0 sessions, measured for 2.0 s", "17 lost", "3 failed", "p50 20.0 us", "99 bogus"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
