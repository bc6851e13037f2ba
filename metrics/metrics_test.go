package metrics

import (
	"bytes"
	"flag"
	"hash/crc32"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"srtrelay/shard"
)

var update = flag.Bool("update", false, "write the golden file anew")

const golden = "testdata/metrics.txt"

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
	all := scrape(t, Handler("v1.2.3", twoShards{}, nil, slog.New(slog.DiscardHandler)))
	got := ours(all)
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
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
	problems, err := testutil.CollectAndLint(NewCollector("v1.2.3", twoShards{}))
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
	r.MustRegister(NewCollector("v1.2.3", twoShards{}))
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
	h := Handler("v1.2.3", twoShards{}, nil, slog.New(slog.NewTextHandler(io.Discard, nil)))
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
