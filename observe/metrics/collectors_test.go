package metrics

import (
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/supervise"
)

// brokenBackends panics whenever it is asked.
type brokenBackends struct{}

func (brokenBackends) Backends() []answer.Backend { panic("boom") }

// Prometheus collects in goroutines of its own, where a panic would end the
// process: it costs the figures of one collector, and is counted.
func TestPanicOfACollector(t *testing.T) {
	s := supervise.New(discard)
	h := Handler(Sources{Shards: twoShards{}, Backends: brokenBackends{}, Supervisor: s}, discard)
	_ = scrape(t, h)
	text := scrape(t, h)
	if !strings.Contains(text, "srtrelay_sessions{") || strings.Contains(text, "srtrelay_backends ") {
		t.Error(text)
	}
	var panics uint64
	for _, c := range s.Counts() {
		panics += c.Panics
	}
	if panics != 2 || !strings.Contains(text, `srtrelay_panics_total{task="metrics"}`) {
		t.Errorf("%d panics counted\n%s", panics, text)
	}
}

type fixedStore bool

func (s fixedStore) State() (bool, time.Time, string) { return bool(s), time.Unix(1700000000, 0), "" }

func TestStoreIsShownOnlyWhereThereIsOne(t *testing.T) {
	with := scrape(t, Handler(Sources{Shards: twoShards{}, Store: fixedStore(false)}, discard))
	for _, want := range []string{"\nsrtrelay_store_up 0\n", "\nsrtrelay_store_change_timestamp_seconds 1.7e+09\n"} {
		if !strings.Contains(with, want) {
			t.Errorf("no line %q", strings.TrimSpace(want))
		}
	}
	if up := scrape(t, Handler(Sources{Shards: twoShards{}, Store: fixedStore(true)}, discard)); !strings.Contains(up, "\nsrtrelay_store_up 1\n") {
		t.Error("a store in use is not up")
	}
	if without := scrape(t, Handler(Sources{Shards: twoShards{}}, discard)); strings.Contains(without, "srtrelay_store") {
		t.Error("a store is shown where there is none")
	}
}
