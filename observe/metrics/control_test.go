package metrics

import (
	"strings"
	"testing"

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
