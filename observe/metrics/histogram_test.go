package metrics

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// The histogram equals prometheus's own, also for values on a bound and beyond all bounds.
func TestHistogramIsPrometheus(t *testing.T) {
	bounds := []float64{0, .5, 1, 2}
	theirs := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "srtrelay_x", Help: "x", Buckets: bounds})
	ours := newHistogram(prometheus.NewDesc("srtrelay_x", "x", nil, nil), bounds)
	for _, values := range [][]float64{nil, {0, .25, .5}, {.75}, {1, 1.5, 2, 2.5, 1e9}, {-1}} {
		ours.observe(values)
		for _, x := range values {
			theirs.Observe(x)
		}
		if got, want := exposed(t, ours), exposed(t, theirs); got != want {
			t.Errorf("after %v: %s\nwant %s", values, got, want)
		}
	}
}

func exposed(t *testing.T, c prometheus.Collector) string {
	t.Helper()
	all := prometheus.NewPedanticRegistry()
	if err := all.Register(c); err != nil {
		t.Fatal(err)
	}
	return scrape(t, promhttp.HandlerFor(all, promhttp.HandlerOpts{}))
}
