package metrics

import "github.com/prometheus/client_golang/prometheus"

// historyCollector shows how far the budget of history goes.
type historyCollector struct {
	histories     func() (kept, leftOut int)
	kept, leftOut *prometheus.Desc
}

func newHistoryCollector(histories func() (kept, leftOut int)) *historyCollector {
	return &historyCollector{
		histories: histories,
		kept:      prometheus.NewDesc("srtrelay_histories", "Streams whose last two minutes are remembered.", nil, nil),
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
