package metrics

import (
	"bytes"
	"hash/crc32"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"srtrelay/api/answer"
	"srtrelay/handshake"
	"srtrelay/internal/asynclog"
	"srtrelay/internal/golden"
	"srtrelay/internal/supervise"
	"srtrelay/observe/cluster"
	"srtrelay/observe/eventlog"
	"srtrelay/relay/overload"
	"srtrelay/shard"
	"srtrelay/shard/relays"
)

const goldenText = "testdata/metrics.txt"

// twoShards have a different number in each counter, so that two counters
// that changed places show. The number hangs on the name alone: a new counter
// must not renumber the others.
type twoShards struct{}

func (twoShards) Stats() []shard.Stats {
	stats := []shard.Stats{{Shard: 0}, {Shard: 1}}
	for i := range stats {
		for k := range shard.NumCounters {
			stats[i].Values[k] = uint64(100_000*(i+1)) + uint64(crc32.ChecksumIEEE([]byte(k.String()))%100_000)
		}
	}
	return stats
}

// fixedKernel is a kernel path at one device of two.
type fixedKernel struct{}

func (fixedKernel) KernelPath() answer.KernelPath {
	return answer.KernelPath{On: true, Devices: []answer.KernelDevice{
		{Name: "lo", Up: map[string]uint64{"pending": 7, "type": 2}},
		{Name: "wg0", Problem: "its packets have no Ethernet header"},
	}}
}

// fixedOverload is a relay at the second step, whose memory cannot be read.
type fixedOverload struct{}

func (fixedOverload) Overload() answer.Overload {
	o := answer.Overload{On: true, Step: overload.StepCaptures.String()}
	for _, i := range overload.Inputs() {
		one := answer.OverloadInput{Name: i.String(), Pressure: new(0.25)}
		if i == overload.InputMemory {
			one.Pressure = nil
		}
		o.Inputs = append(o.Inputs, one)
	}
	for _, s := range overload.Steps() {
		o.Steps = append(o.Steps, answer.OverloadStep{Name: s.String(), Active: s <= overload.StepCaptures, Entered: uint64(s)})
	}
	return o
}

// full has something of everything to show.
func full() Sources {
	events := NewEvents()
	for _, c := range shard.Causes() {
		events.Count(shard.Event{Kind: shard.EventSessionEnded, Cause: c, Took: 90 * time.Second})
	}
	events.Count(shard.Event{Kind: shard.EventSessionBegun, Took: 20 * time.Millisecond})
	for _, c := range []handshake.Code{handshake.CodeDown, handshake.CodeNotFound, 1010, 2777, 4_000_000_000} {
		events.Count(shard.Event{Kind: shard.EventCallerRejected, Code: c})
	}
	quality := NewQuality()
	quality.ObserveRTT("caller", .03)
	quality.ObserveRTT("backend", .0004)
	quality.ObserveLoss("caller", .015)
	quality.ObserveLoss("backend", 0)
	quality.ObserveLoss("nowhere", 1)
	supervisor := supervise.New(discard)
	_ = supervisor.Protect("prober", func() { panic("boom") })
	return Sources{
		EventLog:   func() eventlog.Stats { return eventlog.Stats{Lost: 11, WriteErrors: 3} },
		Supervisor: supervisor, Log: func() asynclog.Stats { return asynclog.Stats{Lost: 9, WriteErrors: 2} },
		Version: "v1.2.3", Shards: twoShards{}, Events: events, Quality: quality, Store: fixedStore(true),
		Cluster: func() cluster.Counts {
			return cluster.Counts{Alive: 2, Away: 1, WriteErrors: 3, Written: 4, Unreadable: 5}
		},
		Relays: func() (s relays.Stats) {
			for k := range s {
				s[k] = uint64(20 + k)
			}
			s[relays.CountLookups] = 100
			return s
		},
		Kernel: fixedKernel{}, Overload: fixedOverload{},
		Backends: backends{
			{ID: "b", Address: "10.0.0.2:10080", Source: "registered", Late: true, Draining: true, Weight: 3},
			{ID: "a", Address: "10.0.0.1:10080", Source: "static", Alive: true, Weight: 1, Sessions: 3, Streams: 2, Bitrate: 8e6},
		},
		Histories:   func() (int, int) { return 7, 8 },
		Connections: func() (int, uint64, uint64) { return 3, 5, 4 },
		Certificate: func() time.Time { return time.Unix(1_800_000_000, 0) },
		Reloads:     func() (uint64, uint64, time.Time) { return 6, 1, time.Unix(1_700_000_000, 5e8) },
		Streams:     &fixedStreams{list: someStreams(3)}, StreamsShown: 2,
	}
}

var discard = slog.New(slog.DiscardHandler)

func scrape(t *testing.T, h http.Handler) string {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	return w.Body.String()
}

func ours(exposition string) []byte {
	var b bytes.Buffer
	for line := range strings.Lines(exposition) {
		if strings.Contains(line, "srtrelay_") {
			b.WriteString(line)
		}
	}
	// The Go version is the builder's, not ours.
	return regexp.MustCompile(`goversion="[^"]*"`).ReplaceAll(b.Bytes(), []byte(`goversion="go"`))
}

// missingLines are the lines of a that b does not have.
func missingLines(a, b []byte) []string {
	has := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		has[line] = true
	}
	var missing []string
	for line := range strings.Lines(string(a)) {
		if !has[line] {
			missing = append(missing, line)
		}
	}
	return missing
}

// Dashboards and alerts hang on these names: a change must be seen and meant.
// To accept one: go test ./metrics -update.
func TestGolden(t *testing.T) {
	all := scrape(t, Handler(full(), discard))
	got := ours(all)
	want := golden.File(t, goldenText, func() []byte { return got })
	for _, line := range missingLines(want, got) {
		t.Errorf("gone from the exposition: %s", line)
	}
	for _, line := range missingLines(got, want) {
		t.Errorf("new in the exposition: %s", line)
	}
	for _, name := range []string{"go_goroutines", "process_open_fds"} {
		if !strings.Contains(all, name) {
			t.Errorf("%s missing", name)
		}
	}
}

func TestLint(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(full().collectors(discard)...)
	problems, err := testutil.GatherAndLint(r)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// Every counter shows in exactly one series of each shard, and has been
// described by someone who thought about it.
func TestEveryCounterIsShown(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(newShardCollector("v1.2.3", twoShards{}))
	n, err := testutil.GatherAndCount(r)
	if err != nil {
		t.Fatal(err)
	}
	if want := 2*int(shard.NumCounters) + 1; n != want {
		t.Errorf("%d series, want %d", n, want)
	}
	names := map[string]bool{}
	for k := range shard.NumCounters {
		names[k.String()] = true
		if _, ok := described[k.String()]; !ok && !k.IsDrop() && !k.IsSendDrop() {
			t.Errorf("counter %s has no description in families.go", k)
		}
	}
	for name := range described {
		if !names[name] {
			t.Errorf("families.go describes %s, which no shard counts", name)
		}
	}
}

func TestScrapeWhileCounting(t *testing.T) {
	h := Handler(full(), discard)
	done := make(chan struct{})
	for range maxScrapes {
		go func() {
			defer func() { done <- struct{}{} }()
			h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil))
		}()
	}
	for range maxScrapes {
		<-done
	}
}
