package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/observe/cluster"
)

// clusterCollector exports the relays that share the state, and their reports.
type clusterCollector struct {
	counts                              func() cluster.Counts
	relays, failed, written, unreadable *prometheus.Desc
}

func newClusterCollector(counts func() cluster.Counts) *clusterCollector {
	return &clusterCollector{
		counts:     counts,
		relays:     prometheus.NewDesc("srtrelay_cluster_relays", "Relays that share the Redis, this one included, by state, as last read.", []string{"state"}, nil),
		failed:     prometheus.NewDesc("srtrelay_cluster_report_errors_total", "Reports of this relay that could not be written to Redis.", nil, nil),
		written:    prometheus.NewDesc("srtrelay_cluster_report_bytes_total", "Bytes of the summaries of streams that this relay has written to Redis.", nil, nil),
		unreadable: prometheus.NewDesc("srtrelay_cluster_unreadable_total", "Reports of other relays that could not be understood, each time they were read.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *clusterCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.relays
	out <- c.failed
	out <- c.written
	out <- c.unreadable
}

// Collect implements prometheus.Collector.
func (c *clusterCollector) Collect(out chan<- prometheus.Metric) {
	n := c.counts()
	out <- prometheus.MustNewConstMetric(c.relays, prometheus.GaugeValue, float64(n.Alive), "alive")
	out <- prometheus.MustNewConstMetric(c.relays, prometheus.GaugeValue, float64(n.Away), "away")
	out <- prometheus.MustNewConstMetric(c.failed, prometheus.CounterValue, float64(n.WriteErrors))
	out <- prometheus.MustNewConstMetric(c.written, prometheus.CounterValue, float64(n.Written))
	out <- prometheus.MustNewConstMetric(c.unreadable, prometheus.CounterValue, float64(n.Unreadable))
}
