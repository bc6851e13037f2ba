package metrics

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
)

// streamsTimeout bounds how long a scrape waits for the shards.
const streamsTimeout = 3 * time.Second

// Streams lists streams; see streams.Watch.
type Streams interface {
	Streams(ctx context.Context, q answer.StreamQuery) (answer.StreamList, error)
}

// streamColumn is one metric of a stream; ok is false if the value is unknown.
type streamColumn struct {
	desc   *prometheus.Desc
	labels []string // beside the stream
	of     func(s *answer.Stream) (value float64, ok bool)
}

// streamCollector exports the oldest streams, so that a stream with metrics keeps them while
// it lives: series that come and go cost Prometheus more.
type streamCollector struct {
	streams      Streams
	most         int
	log          *slog.Logger
	all, leftOut *prometheus.Desc
	columns      []streamColumn
}

func newStreamCollector(s Streams, most int, log *slog.Logger) *streamCollector {
	c := &streamCollector{
		streams: s, most: most, log: log,
		all: prometheus.NewDesc("srtrelay_streams", "Streams that have sessions.", nil, nil),
		leftOut: prometheus.NewDesc("srtrelay_streams_left_out",
			"Streams that have no metrics of their own because of --metrics-streams.", nil, nil),
	}
	c.figures()
	return c
}

func (c *streamCollector) figures() {
	known := func(f func(s *answer.Stream) float64) func(*answer.Stream) (float64, bool) {
		return func(s *answer.Stream) (float64, bool) { return f(s), true }
	}
	// scaled converts the API's units to base units.
	scaled := func(part float64, f func(s *answer.Stream) *float64) func(*answer.Stream) (float64, bool) {
		return func(s *answer.Stream) (float64, bool) {
			if v := f(s); v != nil {
				return *v / part, true
			}
			return 0, false
		}
	}
	var desc *prometheus.Desc
	family := func(name, help string, label ...string) {
		desc = prometheus.NewDesc("srtrelay_stream_"+name, help, append([]string{"stream"}, label...), nil)
	}
	add := func(of func(*answer.Stream) (float64, bool), value ...string) {
		c.columns = append(c.columns, streamColumn{desc, value, of})
	}
	const (
		percent = 100
		milli   = 1000
	)
	family("sessions", "Sessions of the stream, by role.", "role")
	add(known(func(s *answer.Stream) float64 { return float64(s.Publishers) }), answer.RolePublisher)
	add(known(func(s *answer.Stream) float64 { return float64(s.Players) }), answer.RolePlayer)
	family("bytes_per_second", "UDP payload from the stream's publishers (in) and to its players (out).", "direction")
	add(known(func(s *answer.Stream) float64 { return s.BitrateIn / 8 }), "in")
	add(known(func(s *answer.Stream) float64 { return s.BitrateOut / 8 }), "out")
	family("rtt_seconds", "RTT of the stream's worst session, by the side of the relay.", "leg")
	add(scaled(milli, func(s *answer.Stream) *float64 { return s.CallerRTT }), answer.LegCaller)
	add(scaled(milli, func(s *answer.Stream) *float64 { return s.BackendRTT }), answer.LegBackend)
	family("loss_ratio", "Loss of media in the stream's worst session over the last second, by the side of the relay.", "leg")
	add(scaled(percent, func(s *answer.Stream) *float64 { return s.CallerLoss }), answer.LegCaller)
	add(scaled(percent, func(s *answer.Stream) *float64 { return s.BackendLoss }), answer.LegBackend)
	family("since_timestamp_seconds", "When the stream's oldest session began.")
	add(known(func(s *answer.Stream) float64 { return float64(s.Since.UnixMilli()) / milli }))
}

// Describe implements prometheus.Collector.
func (c *streamCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.all
	out <- c.leftOut
	var last *prometheus.Desc
	for i := range c.columns {
		if d := c.columns[i].desc; d != last {
			out <- d
			last = d
		}
	}
}

// Collect implements prometheus.Collector. If the shards do not answer, only these metrics
// are missing.
func (c *streamCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), streamsTimeout)
	defer cancel()
	list, err := c.streams.Streams(ctx, answer.StreamQuery{Sort: answer.SortSince, Limit: c.most})
	if err != nil {
		c.log.Warn("cannot list the streams for a scrape", "error", err)
		return
	}
	shown := list.Streams[:min(len(list.Streams), c.most)]
	for i := range shown {
		// Prometheus rejects a scrape with text that is not UTF-8.
		c.show(out, &shown[i], answer.Escape(shown[i].Key))
	}
	out <- prometheus.MustNewConstMetric(c.all, prometheus.GaugeValue, float64(list.Total))
	out <- prometheus.MustNewConstMetric(c.leftOut, prometheus.GaugeValue, float64(list.Total-len(shown)))
}

func (c *streamCollector) show(out chan<- prometheus.Metric, s *answer.Stream, key string) {
	for k := range c.columns {
		col := &c.columns[k]
		if v, ok := col.of(s); ok {
			labels := append([]string{key}, col.labels...)
			out <- prometheus.MustNewConstMetric(col.desc, prometheus.GaugeValue, v, labels...)
		}
	}
}
