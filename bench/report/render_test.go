package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"srtrelay/internal/golden"
)

func sample(t *testing.T) Document {
	t.Helper()
	d, err := Load("testdata/report.json")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func compareGolden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	want := golden.File(t, file, func() []byte { return got })
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from what is rendered now; look at both, then run the test with -update", file)
	}
}

func TestMarkdownIsAsBefore(t *testing.T) { compareGolden(t, "report.md", Markdown(sample(t))) }

func TestHTMLIsAsBefore(t *testing.T) {
	text, err := HTML(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	compareGolden(t, "report.html", text)
}

// The page must do without the network, and show its colours in both schemes.
func TestHTMLStandsAlone(t *testing.T) {
	text, err := HTML(sample(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"http://", "https://", "<script", "@import", "url(", "NaN", "Inf"} {
		if bytes.Contains(text, []byte(wrong)) {
			t.Errorf("the page contains %q", wrong)
		}
	}
	for _, need := range []string{"prefers-color-scheme: dark", "Example CPU &lt;8 cores&gt;", `class="pass"`, `class="fail"`} {
		if !bytes.Contains(text, []byte(need)) {
			t.Errorf("the page lacks %q", need)
		}
	}
}

func TestChartsAreWellFormed(t *testing.T) {
	n := 0
	for _, p := range panels(sample(t)) {
		for _, c := range p.charts {
			n++
			dec := xml.NewDecoder(strings.NewReader(c.render()))
			for {
				_, err := dec.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s, %s: %v", p.title, c.title, err)
				}
			}
		}
	}
	if n != 9 {
		t.Errorf("%d charts, want 9", n)
	}
}

// A report of nothing must render, too: an interrupted bench writes one.
func TestEmptyReport(t *testing.T) {
	var d Document
	if text := Markdown(d); !bytes.Contains(text, []byte("# What")) {
		t.Errorf("no heading: %s", text)
	}
	if _, err := HTML(d); err != nil {
		t.Error(err)
	}
	if err := Write(d, filepath.Join(t.TempDir(), "a", "b")); err != nil {
		t.Error(err)
	}
}

func TestWriteThenLoad(t *testing.T) {
	dir, d := t.TempDir(), sample(t)
	if err := Write(d, dir); err != nil {
		t.Fatal(err)
	}
	again, err := Load(filepath.Join(dir, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(again.Runs) != len(d.Runs) || again.Runs[0] != d.Runs[0] && *again.Runs[0].Latency != *d.Runs[0].Latency {
		t.Error("the report changed on its way through the file")
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{9, 1, 2}, Spread{2, 1, 9, 3}},
		{[]float64{4, 1, 3, 2}, Spread{2.5, 1, 4, 4}},
		{[]float64{-1, -3}, Spread{-2, -3, -1, 2}},
	} {
		if got := SpreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v, want %+v", c.values, got, c.want)
		}
	}
	if s := SpreadOf(nil); s.N != 0 || !math.IsNaN(s.Median) {
		t.Errorf("of nothing: %+v", s)
	}
}

func TestAddedIsAgainstTheSameRound(t *testing.T) {
	runs := []Run{
		{Scenario: "a", Peer: "direct", Round: 1, CostMicros: 5},
		{Scenario: "a", Peer: "direct", Round: 2, CostMicros: 7},
		{Scenario: "a", Peer: "x", Round: 1, CostMicros: 8},
		{Scenario: "a", Peer: "x", Round: 2, CostMicros: 8},
		{Scenario: "a", Peer: "x", Round: 3, CostMicros: 8},
		{Scenario: "b", Peer: "x", Round: 1, CostMicros: 8},
		{Scenario: "a", Peer: "x", Round: 1, CostMicros: 8, Trial: true},
		{Scenario: "a", Peer: "x", Round: 1, Rate: 9, CostMicros: 8},
	}
	FillAdded(runs)
	for i, want := range []float64{0, 0, 3, 1, 0, 0, 0, 0} {
		if runs[i].AddedMicros != want || runs[i].HasAdded != (want != 0) {
			t.Errorf("run %d: added %v (%v), want %v", i, runs[i].AddedMicros, runs[i].HasAdded, want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		v    Verdict
		want string
	}{
		{AtMost("s", "x", 0.3, 0.3), "PASS"},
		{AtMost("s", "x", 0.31, 0.3), "FAIL"},
		{AtMost("s", "x", math.NaN(), 0.3), "FAIL"},
		{AtLeast("s", "x", 3, 3), "PASS"},
		{AtLeast("s", "x", 2.9, 3), "FAIL"},
		{Verdict{Missing: "why"}, "-"},
	} {
		if got := c.v.Outcome(); got != c.want {
			t.Errorf("%v: %s, want %s", c.v, got, c.want)
		}
	}
}

func TestTicksCoverTheirRange(t *testing.T) {
	for _, high := range []float64{0.003, 0.9, 1, 7, 10, 99, 101, 60000, 1.5e6} {
		ticks := linearTicks(high)
		if ticks[0] != 0 || ticks[len(ticks)-1] < high || len(ticks) > 8 {
			t.Errorf("linear ticks up to %v: %v", high, ticks)
		}
	}
	for _, r := range [][2]float64{{1, 1}, {3, 4000}, {90, 110}, {0.02, 7}} {
		ticks := logTicks(r[0], r[1])
		if ticks[0] > r[0] || ticks[len(ticks)-1] < r[1] {
			t.Errorf("logarithmic ticks of %v: %v", r, ticks)
		}
	}
}

func TestCompare(t *testing.T) {
	a := sample(t)
	b := sample(t)
	for i := range b.Runs {
		b.Runs[i].CostMicros *= 2
	}
	text := string(Compare(a, b))
	if !strings.Contains(text, "2.000") || !strings.Contains(text, "bytes/session") {
		t.Errorf("the comparison lacks a doubled cost or the memory:\n%s", text)
	}
	if text := string(Compare(a, Document{})); !strings.Contains(text, "no run in common") {
		t.Errorf("comparison with nothing: %s", text)
	}
}

// Rows of the tables that only some reports have.
func TestBackendTables(t *testing.T) {
	d := Document{
		Peers: []Peer{{Name: "direct"}, {Name: "--batch-wait 0s"}},
		Runs: []Run{
			{Scenario: "libsrt", Peer: "direct", Rate: 20000, Sessions: 33, CostMicros: 25, RTT: 900, LoadCores: 0.25, SinkCores: 0.25, Window: 2, Delivered: 100_000},
			{Scenario: BatchWaitSleeping, Peer: "direct", Rate: 60000, CostMicros: 15, Latency: &Percentiles{P50: 14, P99: 179}},
			{Scenario: BatchWaitSleeping, Peer: "--batch-wait 0s", Rate: 60000, CostMicros: 19, PeerCores: 0.5, Latency: &Percentiles{P50: 101, P99: 416}},
			{Scenario: BatchWaitLibsrt, Peer: "--batch-wait 0s", Rate: 20000, CostMicros: 29, RTT: 1100},
		},
	}
	FillAdded(d.Runs)
	text := string(Markdown(d))
	for _, row := range []string{
		"| peer | data/s | sessions | CPU, us/packet | added to direct, us/packet | added / nginx's | load, peer and sinks alone, us/packet | lost, worst round | round trip, us | peer's own cores |",
		"| direct | 20,000 | 33 | 25.00 | - | - | 10.00 | 0 | 900 | 0.00 |",
		"| backends that sleep | direct | 60,000 | 15.00 | - | 14 | 179 | - | 0 | 0.00 |",
		"| backends that sleep | --batch-wait 0s | 60,000 | 19.00 | 4.00 | 101 | 416 | - | 0 | 0.50 |",
		"| real libsrt | --batch-wait 0s | 20,000 | 29.00 | - | - | - | 1100 | 0 | 0.00 |",
	} {
		if !strings.Contains(text, row+"\n") {
			t.Errorf("no row %s in\n%s", row, text)
		}
	}
}
