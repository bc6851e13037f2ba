package metrics

import "github.com/prometheus/client_golang/prometheus"

// The two sides of the relay.
const (
	callerLeg  = "caller"
	backendLeg = "backend"
)

// Buckets. RTTs from one rack to two satellites; losses from none, which has a
// bucket of its own, to a link that is as good as dead.
var (
	rttBuckets  = []float64{.001, .0025, .005, .01, .025, .05, .1, .2, .4, .8, 1.6}
	lossBuckets = []float64{0, .001, .0025, .005, .01, .02, .05, .1, .2, .5}
)

// Quality gathers what the sampler of streams sees of every active session
// once a second. Any goroutine may call it.
type Quality struct {
	rtt, loss map[string]prometheus.Observer
	families  []prometheus.Collector
}

// NewQuality returns empty histograms.
func NewQuality() *Quality {
	rtt := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "srtrelay_session_rtt_seconds", Buckets: rttBuckets,
		Help: "RTT between the relay and the peer, by the side of the relay; once a second for each active session.",
	}, []string{"leg"})
	loss := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "srtrelay_session_loss_ratio", Buckets: lossBuckets,
		Help: "Share of media lost on the way over a second, by the side of the relay; once a second for each active session.",
	}, []string{"leg"})
	q := &Quality{
		rtt: make(map[string]prometheus.Observer), loss: make(map[string]prometheus.Observer),
		families: []prometheus.Collector{rtt, loss},
	}
	// Looked up once: a hundred thousand sessions are observed every second.
	for _, leg := range []string{callerLeg, backendLeg} {
		q.rtt[leg], q.loss[leg] = rtt.WithLabelValues(leg), loss.WithLabelValues(leg)
	}
	return q
}

// ObserveRTT notes a session's RTT on a side of the relay, caller or backend.
func (q *Quality) ObserveRTT(side string, seconds float64) {
	if h := q.rtt[side]; h != nil {
		h.Observe(seconds)
	}
}

// ObserveLoss notes which share of a session's media was lost on a side of the
// relay, from 0 to 1.
func (q *Quality) ObserveLoss(side string, ratio float64) {
	if h := q.loss[side]; h != nil {
		h.Observe(ratio)
	}
}
