package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
)

// Buckets. RTTs range from that of one rack to that of two satellite links; losses from
// none, which has a bucket of its own, to a dead link.
var (
	rttBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .2, .4, .8, 1.6}
	lossBuckets = []float64{0, .001, .0025, .005, .01, .02, .05, .1, .2, .5}
)

// Quality holds histograms of the quality of all active sessions at each sample; it
// implements streams.Observer. Any goroutine may call it.
type Quality struct {
	rtt, loss map[string]*histogram // by leg
}

// NewQuality returns empty histograms.
func NewQuality() *Quality {
	return &Quality{
		rtt: byLeg("srtrelay_session_rtt_seconds",
			"RTT between the relay and the peer, by the side of the relay; at each sample of each active session.", rttBuckets),
		loss: byLeg("srtrelay_session_loss_ratio",
			"Share of media lost on the way from sample to sample, by the side of the relay; at each sample of each active session.", lossBuckets),
	}
}

func byLeg(name, help string, bounds []float64) map[string]*histogram {
	desc := prometheus.NewDesc(name, help, []string{"leg"}, nil)
	return map[string]*histogram{
		answer.LegCaller:  newHistogram(desc, bounds, answer.LegCaller),
		answer.LegBackend: newHistogram(desc, bounds, answer.LegBackend),
	}
}

// ObserveRTT adds sessions' RTTs on one leg.
func (q *Quality) ObserveRTT(side string, seconds ...float64) {
	if h := q.rtt[side]; h != nil {
		h.observe(seconds)
	}
}

// ObserveLoss adds sessions' shares of lost media on one leg, from 0 to 1.
func (q *Quality) ObserveLoss(side string, ratios ...float64) {
	if h := q.loss[side]; h != nil {
		h.observe(ratios)
	}
}

// Describe implements prometheus.Collector.
func (q *Quality) Describe(out chan<- *prometheus.Desc) {
	// Both legs of a family have one description.
	q.rtt[answer.LegCaller].Describe(out)
	q.loss[answer.LegCaller].Describe(out)
}

// Collect implements prometheus.Collector.
func (q *Quality) Collect(out chan<- prometheus.Metric) {
	for _, family := range []map[string]*histogram{q.rtt, q.loss} {
		for _, h := range family {
			h.Collect(out)
		}
	}
}
