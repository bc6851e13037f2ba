// Package metrics shows the relay's figures to Prometheus.
//
// What the shards count is only copied and named at each scrape; what happens
// to sessions, and how well they fare, is gathered here off their loops. It
// must not know how a shard works, and it puts no metric object into a loop.
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

	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
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

// Sources are whom a scrape asks, and what has been gathered for it. Those
// that are nil have nothing to show.
type Sources struct {
	Version  string
	Shards   Shards
	Backends Backends
	// Streams has metrics for the oldest StreamsShown of its streams.
	Streams      Streams
	StreamsShown int
	// Histories counts the streams whose last minutes are remembered, and those
	// for which the budget has no room.
	Histories func() (kept, leftOut int)
	// Connections counts the API's: those open, those that were idle and made
	// room for newer ones, and those that found no room.
	Connections func() (open int, replaced, refused uint64)
	Events      *Events
	Quality     *Quality
	// Log says what became of the log's lines.
	Log func() asynclog.Stats
	// Supervisor counts the panics of tasks, also those of a scrape.
	Supervisor *supervise.Supervisor
	// Store is the state that relays share.
	Store Store
}

// Handler answers scrapes with what the sources show, and with what the Go
// runtime and the kernel say of the process.
func Handler(from Sources, log *slog.Logger) http.Handler {
	// A registry of its own: the global one shows whatever a dependency
	// registers in passing.
	r := prometheus.NewRegistry()
	for _, c := range from.collectors(log) {
		r.MustRegister(guarded{c, from.Supervisor})
	}
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}

// collectors are all the relay's own.
func (from Sources) collectors(log *slog.Logger) []prometheus.Collector {
	all := []prometheus.Collector{NewCollector(from.Version, from.Shards)}
	if from.Backends != nil {
		all = append(all, newBackendCollector(from.Backends))
	}
	if from.Streams != nil && from.StreamsShown > 0 {
		all = append(all, newStreamCollector(from.Streams, from.StreamsShown, log))
	}
	if from.Histories != nil {
		all = append(all, newHistoryCollector(from.Histories))
	}
	if from.Connections != nil {
		all = append(all, newConnectionCollector(from.Connections))
	}
	if from.Events != nil {
		all = append(all, from.Events.collectors()...)
	}
	if from.Quality != nil {
		all = append(all, from.Quality)
	}
	if from.Log != nil {
		all = append(all, newLogCollector(from.Log))
	}
	if from.Supervisor != nil {
		all = append(all, newPanicCollector(from.Supervisor))
	}
	if from.Store != nil {
		all = append(all, newStoreCollector(from.Store))
	}
	return all
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
