package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
	"srtrelay/observe/eventlog"
)

// logCollector exports the losses of the log.
type logCollector struct {
	stats        func() asynclog.Stats
	lost, failed *prometheus.Desc
}

func newLogCollector(stats func() asynclog.Stats) *logCollector {
	return &logCollector{
		stats: stats,
		lost: prometheus.NewDesc("srtrelay_log_lines_lost_total",
			"Log lines lost because the log's reader was too slow, or gone.", nil, nil),
		failed: prometheus.NewDesc("srtrelay_log_write_errors_total",
			"Writes of the log that failed and were tried again.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *logCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.lost
	out <- c.failed
}

// Collect implements prometheus.Collector.
func (c *logCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	out <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(s.Lost))
	out <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(s.WriteErrors))
}

// eventLogCollector exports the losses of the event log.
type eventLogCollector struct {
	stats        func() eventlog.Stats
	lost, failed *prometheus.Desc
}

func newEventLogCollector(stats func() eventlog.Stats) *eventLogCollector {
	return &eventLogCollector{
		stats: stats,
		lost: prometheus.NewDesc("srtrelay_event_log_lost_total",
			"Events that are missing in the event log, because it could not be written, or not fast enough.", nil, nil),
		failed: prometheus.NewDesc("srtrelay_event_log_write_errors_total",
			"Writes and rotations of the event log that failed.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *eventLogCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.lost
	out <- c.failed
}

// Collect implements prometheus.Collector.
func (c *eventLogCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	out <- prometheus.MustNewConstMetric(c.lost, prometheus.CounterValue, float64(s.Lost))
	out <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(s.WriteErrors))
}

// panicCollector exports the panics of tasks.
type panicCollector struct {
	supervisor *supervise.Supervisor
	panics     *prometheus.Desc
}

func newPanicCollector(s *supervise.Supervisor) *panicCollector {
	return &panicCollector{supervisor: s, panics: prometheus.NewDesc("srtrelay_panics_total",
		"Panics that were recovered, by task; streams went on.", []string{"task"}, nil)}
}

// Describe implements prometheus.Collector.
func (c *panicCollector) Describe(out chan<- *prometheus.Desc) { out <- c.panics }

// Collect implements prometheus.Collector.
func (c *panicCollector) Collect(out chan<- prometheus.Metric) {
	for _, n := range c.supervisor.Counts() {
		out <- prometheus.MustNewConstMetric(c.panics, prometheus.CounterValue, float64(n.Panics), n.Task)
	}
}

// protected is a collector whose panic loses only its own metrics. Prometheus collects in
// goroutines of its own, where a panic would end the process.
type protected struct {
	prometheus.Collector
	supervisor *supervise.Supervisor
}

// Collect implements prometheus.Collector.
func (g protected) Collect(out chan<- prometheus.Metric) {
	_ = g.supervisor.Protect("metrics", func() { g.Collector.Collect(out) })
}

// connectionCollector exports the API's connections.
type connectionCollector struct {
	counts       func() (open int, replaced, refused uint64)
	open, capped *prometheus.Desc
}

func newConnectionCollector(counts func() (open int, replaced, refused uint64)) *connectionCollector {
	return &connectionCollector{
		counts: counts,
		open:   prometheus.NewDesc("srtrelay_api_connections", "Connections that the API has open.", nil, nil),
		capped: prometheus.NewDesc("srtrelay_api_connections_capped_total",
			"Connections to the API closed at its bounds: replaced were idle and closed for a newer one, refused were closed at once.",
			[]string{"fate"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *connectionCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.open
	out <- c.capped
}

// Collect implements prometheus.Collector.
func (c *connectionCollector) Collect(out chan<- prometheus.Metric) {
	open, replaced, refused := c.counts()
	out <- prometheus.MustNewConstMetric(c.open, prometheus.GaugeValue, float64(open))
	out <- prometheus.MustNewConstMetric(c.capped, prometheus.CounterValue, float64(replaced), "replaced")
	out <- prometheus.MustNewConstMetric(c.capped, prometheus.CounterValue, float64(refused), "refused")
}

// reloadCollector exports the reloads of the configuration.
type reloadCollector struct {
	stats       func() (succeeded, failed uint64, last time.Time)
	count, last *prometheus.Desc
}

func newReloadCollector(stats func() (succeeded, failed uint64, last time.Time)) *reloadCollector {
	return &reloadCollector{
		stats: stats,
		count: prometheus.NewDesc("srtrelay_config_reloads_total",
			"Reloads of the configuration file and the rules, by SIGHUP or the API: a failure has changed nothing.", []string{"result"}, nil),
		last: prometheus.NewDesc("srtrelay_config_last_reload_success_timestamp_seconds",
			"When the configuration was last reloaded, or read at the start.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *reloadCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.count
	out <- c.last
}

// Collect implements prometheus.Collector.
func (c *reloadCollector) Collect(out chan<- prometheus.Metric) {
	succeeded, failed, last := c.stats()
	out <- prometheus.MustNewConstMetric(c.count, prometheus.CounterValue, float64(succeeded), "success")
	out <- prometheus.MustNewConstMetric(c.count, prometheus.CounterValue, float64(failed), "failure")
	out <- prometheus.MustNewConstMetric(c.last, prometheus.GaugeValue, float64(last.UnixMilli())/1000)
}

// newCertificateGauge exports when the API's certificate ends.
func newCertificateGauge(ends func() time.Time) prometheus.GaugeFunc {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "srtrelay_api_certificate_expiration_timestamp_seconds",
		Help: "Time at which the API's certificate in force ends.",
	}, func() float64 { return float64(ends().Unix()) })
}

// historyCollector exports how many streams have a history.
type historyCollector struct {
	histories     func() (kept, leftOut int)
	kept, leftOut *prometheus.Desc
}

func newHistoryCollector(histories func() (kept, leftOut int)) *historyCollector {
	return &historyCollector{
		histories: histories,
		kept:      prometheus.NewDesc("srtrelay_histories", "Streams with a history of two minutes.", nil, nil),
		leftOut: prometheus.NewDesc("srtrelay_histories_left_out",
			"Streams that carry media and have no history, because its memory is used up.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *historyCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.kept
	out <- c.leftOut
}

// Collect implements prometheus.Collector.
func (c *historyCollector) Collect(out chan<- prometheus.Metric) {
	kept, leftOut := c.histories()
	out <- prometheus.MustNewConstMetric(c.kept, prometheus.GaugeValue, float64(kept))
	out <- prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(leftOut))
}

// Store is the state shared by relays; see redis.Balancer.
type Store interface {
	// State reports whether the store is in use, since when, and if not, why.
	State() (ok bool, since time.Time, detail string)
}

// storeCollector exports whether the shared state is in use.
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
