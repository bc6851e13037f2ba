package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
)

// logCollector shows what became of the log's lines.
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

// panicCollector shows how often the tasks beside the shards have panicked.
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

// guarded is a collector whose panic costs its own figures only. Prometheus
// collects in goroutines of its own: a panic there would end the process.
type guarded struct {
	prometheus.Collector
	supervisor *supervise.Supervisor
}

// Collect implements prometheus.Collector.
func (g guarded) Collect(out chan<- prometheus.Metric) {
	_ = g.supervisor.Protect("metrics", func() { g.Collector.Collect(out) })
}
