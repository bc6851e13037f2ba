package metrics

import (
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/handshake"
	"srtrelay/shard"
)

// Buckets. A handshake takes two round trips to the backend, more with a failover, and 3 s
// at most. A session lasts from seconds to weeks.
var (
	handshakeBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 3}
	sessionBuckets   = []float64{1, 10, 60, 300, 1800, 3600, 6 * 3600, 24 * 3600, 7 * 24 * 3600}
)

// otherCode is the label of all rejection codes without a name: backends may send any code,
// and each would be a series.
const otherCode = "other"

// Events counts the shards' events. srtrelay_events_lost_total counts those that were lost
// because the queue of events was full.
type Events struct {
	handshakes, sessions prometheus.Histogram
	ended, rejected      *prometheus.CounterVec
	byCause              map[shard.Cause]prometheus.Counter
}

// NewEvents returns Events without any event.
func NewEvents() *Events {
	e := &Events{
		handshakes: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "srtrelay_handshake_duration_seconds", Buckets: handshakeBuckets,
			Help: "From a caller's CONCLUSION to its answer, of handshakes that became a session.",
		}),
		sessions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "srtrelay_session_duration_seconds", Buckets: sessionBuckets,
			Help: "How long the sessions that have ended lasted.",
		}),
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srtrelay_sessions_ended_total", Help: "Sessions that have ended, by cause.",
		}, []string{"cause"}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "srtrelay_callers_rejected_total", Help: "Handshakes that failed, by SRT's rejection code and its name.",
		}, []string{"code", "reason"}),
		byCause: make(map[shard.Cause]prometheus.Counter),
	}
	// All series exist from the start, so that rate() sees the first increase.
	for _, c := range shard.Causes() {
		e.byCause[c] = e.ended.WithLabelValues(strings.ReplaceAll(c.String(), " ", "_"))
	}
	for _, c := range []handshake.Code{
		handshake.CodeRogue, handshake.CodeVersion, handshake.CodeBadRequest, handshake.CodeOverload,
		handshake.CodeForbidden, handshake.CodeNotFound, handshake.CodeBadGateway, handshake.CodeDown,
	} {
		e.rejected.WithLabelValues(codeLabels(c)...)
	}
	return e
}

// codeLabels returns the labels of a rejection code: its number and its name.
func codeLabels(c handshake.Code) []string {
	number, name, named := strings.Cut(c.String(), " ")
	if !named {
		return []string{otherCode, otherCode}
	}
	return []string{number, strings.ReplaceAll(strings.ToLower(name), " ", "_")}
}

// Count counts one event.
func (e *Events) Count(ev shard.Event) {
	switch ev.Kind {
	case shard.EventSessionBegun:
		e.handshakes.Observe(ev.Took.Seconds())
	case shard.EventSessionEnded:
		e.sessions.Observe(ev.Took.Seconds())
		if c := e.byCause[ev.Cause]; c != nil {
			c.Inc()
		} else {
			e.ended.WithLabelValues("cause_" + strconv.Itoa(int(ev.Cause))).Inc()
		}
	case shard.EventCallerRejected:
		e.rejected.WithLabelValues(codeLabels(ev.Code)...).Inc()
	}
}

func (e *Events) collectors() []prometheus.Collector {
	return []prometheus.Collector{e.handshakes, e.sessions, e.ended, e.rejected}
}
