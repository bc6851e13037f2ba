// Package metrics exports the relay's numbers to Prometheus.
//
// At each scrape it copies the shards' counters and gives them names. Histograms of
// sessions and their quality are kept here, outside of the shards' loops. It must not know
// how a shard works.
package metrics

import (
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
	"srtrelay/internal/throttle"
	"srtrelay/observe/cluster"
	"srtrelay/observe/eventlog"
	"srtrelay/shard"
	"srtrelay/shard/relays"
)

// Limits of scraping: two servers of a redundant pair and a person may scrape at once.
const (
	maxScrapes    = 4
	scrapeTimeout = 10 * time.Second
)

// Shards returns a copy of every shard's counters.
type Shards interface {
	Stats() []shard.Stats
}

// Sources are the parts of the relay whose numbers are exported; nil ones are left out.
type Sources struct {
	Version  string
	Shards   Shards
	Backends Backends
	Kernel   Kernel
	Overload Overload
	// Streams lists the streams; the oldest StreamsShown have metrics of their own.
	Streams      Streams
	StreamsShown int
	// Histories counts the streams with a history, and those without because the
	// memory for histories is used up.
	Histories func() (kept, leftOut int)
	// Connections counts the API's connections: open, closed while idle for a newer
	// one, and refused.
	Connections func() (open int, replaced, refused uint64)
	// Certificate returns when the API's certificate ends; nil without TLS.
	Certificate func() time.Time
	// Reloads counts the reloads of the configuration by their result. last is when one
	// succeeded, at first the start.
	Reloads func() (succeeded, failed uint64, last time.Time)
	Events  *Events
	Quality *Quality
	// Log counts lost log lines and failed writes.
	Log func() asynclog.Stats
	// EventLog counts what is missing in the event log.
	EventLog func() eventlog.Stats
	// Supervisor counts panics of tasks, also those of a scrape.
	Supervisor *supervise.Supervisor
	// Store is the state shared by relays.
	Store Store
	// Relays counts what is passed on between relays.
	Relays func() relays.Stats
	// Cluster counts the relays that share the state, and their reports.
	Cluster func() cluster.Counts
}

// Handler answers scrapes with the metrics of the sources, the Go runtime and the process.
func Handler(from Sources, log *slog.Logger) http.Handler {
	// Not the global registry, in which dependencies may register metrics.
	r := prometheus.NewRegistry()
	for _, c := range from.collectors(log) {
		r.MustRegister(protected{c, from.Supervisor})
	}
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorLog:            &scrapeLog{log: log},
		MaxRequestsInFlight: maxScrapes,
		Timeout:             scrapeTimeout,
	})
}

// scrapeLog logs scrapes that failed, most of them because their client has left.
type scrapeLog struct {
	log *slog.Logger
	throttle.Throttle
}

// Println implements promhttp.Logger.
func (l *scrapeLog) Println(v ...any) {
	if held, ok := l.Pass(time.Now()); ok {
		l.log.Warn("scrape failed", "problem", strings.TrimSpace(fmt.Sprintln(v...)), "more_before", held)
	}
}

// collectors returns the collectors of all sources.
func (from Sources) collectors(log *slog.Logger) []prometheus.Collector {
	all := []prometheus.Collector{newShardCollector(from.Version, from.Shards)}
	if from.Backends != nil {
		all = append(all, newBackendCollector(from.Backends))
	}
	if from.Kernel != nil {
		all = append(all, newKernelCollector(from.Kernel))
	}
	if from.Overload != nil {
		all = append(all, newOverloadCollector(from.Overload))
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
	if from.Certificate != nil {
		all = append(all, newCertificateGauge(from.Certificate))
	}
	if from.Relays != nil {
		all = append(all, newRelaysCollector(from.Relays))
	}
	if from.Reloads != nil {
		all = append(all, newReloadCollector(from.Reloads))
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
	if from.EventLog != nil {
		all = append(all, newEventLogCollector(from.EventLog))
	}
	if from.Supervisor != nil {
		all = append(all, newPanicCollector(from.Supervisor))
	}
	if from.Cluster != nil {
		all = append(all, newClusterCollector(from.Cluster))
	}
	if from.Store != nil {
		all = append(all, newStoreCollector(from.Store))
	}
	return all
}

// shardCollector exports the shards' counters. It holds no numbers; any goroutine may use
// it.
type shardCollector struct {
	shards Shards
	build  prometheus.Metric
	shown  [shard.NumCounters]column
}

// column describes the metric of one counter.
type column struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value []string // of the label beside the shard, if there is one
}

// newShardCollector returns a collector that reads the shards at each scrape.
func newShardCollector(version string, shards Shards) *shardCollector {
	info := prometheus.NewDesc("srtrelay_build_info", "Always 1; the labels say which build runs.",
		[]string{"version", "goversion"}, nil)
	c := &shardCollector{
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
func (c *shardCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.build.Desc()
	for i := range c.shown {
		out <- c.shown[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *shardCollector) Collect(out chan<- prometheus.Metric) {
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
