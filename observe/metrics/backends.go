package metrics

import (
	"cmp"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
)

// maxBackends bounds the series: servers register under new names when they restart, and
// Prometheus keeps old series.
const maxBackends = 1000

// Backends returns every backend that the relay knows.
type Backends interface {
	Backends() []answer.Backend
}

// backendColumn is one metric of all backends.
type backendColumn struct {
	desc *prometheus.Desc
	of   func(b *answer.Backend) float64
}

// backendCollector exports the backends, labelled with their IDs.
type backendCollector struct {
	backends     Backends
	all, leftOut *prometheus.Desc
	about        *prometheus.Desc
	ejections    *prometheus.Desc
	columns      []backendColumn
}

func newBackendCollector(b Backends) *backendCollector {
	c := &backendCollector{
		backends: b,
		all:      prometheus.NewDesc("srtrelay_backends", "Backends that the relay knows.", nil, nil),
		leftOut: prometheus.NewDesc("srtrelay_backends_left_out",
			"Backends that have no metrics of their own because there are too many.", nil, nil),
		about: prometheus.NewDesc("srtrelay_backend_info", "Always 1; the labels say where a backend is and who named it.",
			[]string{"backend", "address", "source"}, nil),
	}
	add := func(name, help string, of func(b *answer.Backend) float64) {
		desc := prometheus.NewDesc("srtrelay_backend_"+name, help, []string{"backend"}, nil)
		c.columns = append(c.columns, backendColumn{desc, of})
	}
	add("alive", "1 while the backend answers and its heartbeat, if it needs one, is not late.",
		func(b *answer.Backend) float64 { return indicator(b.Alive) })
	add("late", "1 while the backend's heartbeat is overdue.",
		func(b *answer.Backend) float64 { return indicator(b.Late) })
	add("draining", "1 while the backend gets no new streams by the operator's wish.",
		func(b *answer.Backend) float64 { return indicator(b.Draining) })
	add("ejected", "1 while outlier detection gives the backend no new streams, or a few to try it.",
		func(b *answer.Backend) float64 { return indicator(b.Ejected) })
	c.ejections = prometheus.NewDesc("srtrelay_backend_ejections_total",
		"How often outlier detection has ejected the backend.", []string{"backend"}, nil)
	add("weight", "The backend's share of new streams against the others'.",
		func(b *answer.Backend) float64 { return float64(b.Weight) })
	add("sessions", "Sessions on the backend.",
		func(b *answer.Backend) float64 { return float64(b.Sessions) })
	add("streams", "Streams on the backend.",
		func(b *answer.Backend) float64 { return float64(b.Streams) })
	add("bytes_per_second", "UDP payload that the backend carries at present, both ways together.",
		func(b *answer.Backend) float64 { return b.Bitrate / 8 })
	return c
}

func indicator(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *backendCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.all
	out <- c.leftOut
	out <- c.about
	out <- c.ejections
	for i := range c.columns {
		out <- c.columns[i].desc
	}
}

// Collect implements prometheus.Collector.
func (c *backendCollector) Collect(out chan<- prometheus.Metric) {
	known := c.backends.Backends()
	shown := slices.SortedFunc(slices.Values(known), func(a, b answer.Backend) int { return cmp.Compare(a.ID, b.ID) })
	shown = shown[:min(len(shown), maxBackends)]
	out <- prometheus.MustNewConstMetric(c.all, prometheus.GaugeValue, float64(len(known)))
	out <- prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(len(known)-len(shown)))
	for i := range shown {
		b := &shown[i]
		id := answer.Escape(b.ID)
		out <- prometheus.MustNewConstMetric(c.about, prometheus.GaugeValue, 1, id, answer.Escape(b.Address), b.Source)
		out <- prometheus.MustNewConstMetric(c.ejections, prometheus.CounterValue, float64(b.Ejections), id)
		for k := range c.columns {
			out <- prometheus.MustNewConstMetric(c.columns[k].desc, prometheus.GaugeValue, c.columns[k].of(b), id)
		}
	}
}
