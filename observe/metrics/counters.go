package metrics

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// counters are the series of one family of counters, which can be handed to another
// process. Any goroutine may use them.
type counters struct {
	desc   *prometheus.Desc
	labels int // how many each series has

	mu     sync.Mutex
	values map[string]uint64 // by the values of the labels, joined by labelSeparator
}

const labelSeparator = "\x00"

func newCounters(name, help string, labels ...string) *counters {
	return &counters{desc: prometheus.NewDesc(name, help, labels, nil), labels: len(labels), values: make(map[string]uint64)}
}

// add adds to a series, and makes it if it is new.
func (c *counters) add(n uint64, labels ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.values[strings.Join(labels, labelSeparator)] += n
}

// Describe implements prometheus.Collector.
func (c *counters) Describe(out chan<- *prometheus.Desc) { out <- c.desc }

// Collect implements prometheus.Collector.
func (c *counters) Collect(out chan<- prometheus.Metric) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for labels, v := range c.values {
		out <- prometheus.MustNewConstMetric(c.desc, prometheus.CounterValue, float64(v), strings.Split(labels, labelSeparator)...)
	}
}
