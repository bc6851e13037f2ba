package metrics

import (
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// histogram observes many values in one call. Prometheus's own needs four atomic operations
// per value, and many sessions have hundreds of thousands of values per second.
type histogram struct {
	desc   *prometheus.Desc
	bounds []float64 // upper bounds, ascending
	labels []string  // values of the labels

	mu     sync.Mutex
	counts []uint64 // by bound, and one for greater values
	sum    float64
}

func newHistogram(desc *prometheus.Desc, bounds []float64, labels ...string) *histogram {
	return &histogram{desc: desc, bounds: bounds, labels: labels, counts: make([]uint64, len(bounds)+1)}
}

func (h *histogram) observe(values []float64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, x := range values {
		k := 0
		for k < len(h.bounds) && x > h.bounds[k] {
			k++
		}
		h.counts[k]++
		h.sum += x
	}
}

// Describe implements prometheus.Collector.
func (h *histogram) Describe(out chan<- *prometheus.Desc) { out <- h.desc }

// Collect implements prometheus.Collector.
func (h *histogram) Collect(out chan<- prometheus.Metric) {
	h.mu.Lock()
	counts, sum := slices.Clone(h.counts), h.sum
	h.mu.Unlock()
	var below uint64
	buckets := make(map[float64]uint64, len(h.bounds))
	for k, bound := range h.bounds {
		below += counts[k]
		buckets[bound] = below
	}
	out <- prometheus.MustNewConstHistogram(h.desc, below+counts[len(h.bounds)], sum, buckets, h.labels...)
}
