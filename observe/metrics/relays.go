package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/shard/relays"
)

// relaysCollector exports what this relay passes on to others, and gets from them.
type relaysCollector struct {
	stats                                    func() relays.Stats
	sent, sentBytes, taken, dropped, lookups *prometheus.Desc
}

func newRelaysCollector(stats func() relays.Stats) *relaysCollector {
	return &relaysCollector{
		stats:     stats,
		sent:      prometheus.NewDesc("srtrelay_relays_sent_datagrams_total", "Datagrams of callers passed on to the relay that has their session.", nil, nil),
		sentBytes: prometheus.NewDesc("srtrelay_relays_sent_bytes_total", "UDP payload bytes of callers passed on to the relay that has their session.", nil, nil),
		taken:     prometheus.NewDesc("srtrelay_relays_received_datagrams_total", "Datagrams of callers that other relays have passed on, and a shard has got.", nil, nil),
		dropped:   prometheus.NewDesc("srtrelay_relays_dropped_datagrams_total", "Datagrams between relays that went nowhere, by reason.", []string{"reason"}, nil),
		lookups:   prometheus.NewDesc("srtrelay_relays_lookups_total", "Flows whose relay was asked for in Redis, by result.", []string{"result"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *relaysCollector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.sent, c.sentBytes, c.taken, c.dropped, c.lookups} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *relaysCollector) Collect(out chan<- prometheus.Metric) {
	s := c.stats()
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	count(c.sent, s[relays.CountSent])
	count(c.sentBytes, s[relays.CountSentBytes])
	count(c.taken, s[relays.CountDelivered])
	for k := range relays.NumCounters {
		if k.IsDrop() {
			count(c.dropped, s[k], k.String())
		}
	}
	found, away := s[relays.CountLookupsFound], s[relays.CountLookupsAway]
	count(c.lookups, found, "found")
	count(c.lookups, away, "away")
	count(c.lookups, max(s[relays.CountLookups], found+away)-found-away, "none")
}
