package metrics

import "github.com/prometheus/client_golang/prometheus"

// connectionCollector shows the API's own connections.
type connectionCollector struct {
	counts       func() (open int, replaced, refused uint64)
	open, capped *prometheus.Desc
}

func newConnectionCollector(counts func() (open int, replaced, refused uint64)) *connectionCollector {
	return &connectionCollector{
		counts: counts,
		open:   prometheus.NewDesc("srtrelay_api_connections", "Connections that the API has open.", nil, nil),
		capped: prometheus.NewDesc("srtrelay_api_connections_capped_total",
			"Connections to the API closed at its bounds: replaced were idle and made room for newer ones, refused found no room.",
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
