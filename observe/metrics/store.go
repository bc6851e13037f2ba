package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Store is a state that relays share; see redis.Balancer.
type Store interface {
	// State reports whether the store is in use, since when that is so, and
	// why not.
	State() (ok bool, since time.Time, detail string)
}

// storeCollector shows whether the shared state can be reached.
type storeCollector struct {
	store     Store
	up, since *prometheus.Desc
}

func newStoreCollector(s Store) *storeCollector {
	return &storeCollector{
		store: s,
		up: prometheus.NewDesc("srtrelay_store_up",
			"1 while the shared state is in use, 0 while the relay goes on without it.", nil, nil),
		since: prometheus.NewDesc("srtrelay_store_change_timestamp_seconds",
			"When srtrelay_store_up last changed.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.up
	out <- c.since
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(out chan<- prometheus.Metric) {
	ok, since, _ := c.store.State()
	up := 0.0
	if ok {
		up = 1
	}
	out <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, up)
	out <- prometheus.MustNewConstMetric(c.since, prometheus.GaugeValue, float64(since.UnixMilli())/1000)
}
