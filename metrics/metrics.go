// Package metrics shows the shards' counters to Prometheus.
//
// Nothing is counted here: at each scrape the collector copies what the
// shards published and names it. It must not know how a shard works, and it
// puts no metric object into a loop.
package metrics

import (
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"srtrelay/shard"
)

// Limits of scraping. Two servers of a pair may scrape at once, with a person
// looking on; more is a mistake.
const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// Shards gives a copy of every shard's counters.
type Shards interface {
	Stats() []shard.Stats
}

// Handler answers scrapes with the shards' counters, the build, the shared
// state if store is not nil, and what the Go runtime and the kernel say of the
// process.
func Handler(version string, shards Shards, store Store, log *slog.Logger) http.Handler {
	// A registry of its own: the global one shows whatever a dependency
	// registers in passing.
	r := prometheus.NewRegistry()
	r.MustRegister(
		NewCollector(version, shards),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if store != nil {
		r.MustRegister(newStoreCollector(store))
	}
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}

// Collector is a prometheus.Collector over the shards' counters. It holds no
// numbers and may be used from any goroutine.
type Collector struct {
	shards Shards
	build  prometheus.Metric
	shown  [shard.NumCounters]column
}

// column is how one counter is shown in every scrape.
type column struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value []string // of the label beside the shard, if there is one
}

// NewCollector makes a collector that reads shards at each scrape.
func NewCollector(version string, shards Shards) *Collector {
	info := prometheus.NewDesc("srtrelay_build_info", "Always 1; the labels say which build runs.",
		[]string{"version", "goversion"}, nil)
	c := &Collector{
		shards: shards,
		build:  prometheus.MustNewConstMetric(info, prometheus.GaugeValue, 1, version, runtime.Version()),
	}
	for k := range shard.NumCounters {
		s := seriesOf(k)
		col := column{kind: prometheus.CounterValue}
		if k.IsGauge() {
			col.kind = prometheus.GaugeValue
		}
		labels := []string{"shard"}
		if s.label != "" {
			labels, col.value = append(labels, s.label), []string{s.value}
		}
		col.desc = prometheus.NewDesc("srtrelay_"+s.name, s.help, labels, nil)
		c.shown[k] = col
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) {
	out <- c.build.Desc()
	for i := range c.shown {
		out <- c.shown[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	out <- c.build
	for _, stats := range c.shards.Stats() {
		number := []string{strconv.Itoa(stats.Shard)}
		for k, v := range stats.Values {
			col := &c.shown[k]
			labels := slices.Concat(number, col.value)
			out <- prometheus.MustNewConstMetric(col.desc, col.kind, float64(v), labels...)
		}
	}
}
