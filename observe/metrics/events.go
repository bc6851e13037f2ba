package metrics

import (
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
	handshakes, sessions *histogram
	ended, rejected      *counters
}

// NewEvents returns Events without any event.
func NewEvents() *Events {
	histogramOf := func(name, help string, bounds []float64) *histogram {
		return newHistogram(prometheus.NewDesc(name, help, nil, nil), bounds)
	}
	e := &Events{
		handshakes: histogramOf("srtrelay_handshake_duration_seconds",
			"From a caller's CONCLUSION to its answer, of handshakes that became a session.", handshakeBuckets),
		sessions: histogramOf("srtrelay_session_duration_seconds", "How long the sessions that have ended lasted.", sessionBuckets),
		ended:    newCounters("srtrelay_sessions_ended_total", "Sessions that have ended, by cause.", "cause"),
		rejected: newCounters("srtrelay_callers_rejected_total", "Handshakes that failed, by SRT's rejection code and its name.", "code", "reason"),
	}
	// All series exist from the start, so that rate() sees the first increase.
	for _, c := range shard.Causes() {
		e.ended.add(0, causeLabel(c))
	}
	for _, c := range []handshake.Code{
		handshake.CodeRogue, handshake.CodeVersion, handshake.CodeBadRequest, handshake.CodeOverload,
		handshake.CodeForbidden, handshake.CodeNotFound, handshake.CodeBadGateway, handshake.CodeDown,
	} {
		e.rejected.add(0, codeLabels(c)...)
	}
	return e
}

// causeLabel returns the label of a cause.
func causeLabel(c shard.Cause) string { return strings.ReplaceAll(c.String(), " ", "_") }

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
		e.handshakes.observe([]float64{ev.Took.Seconds()})
	case shard.EventSessionEnded:
		e.sessions.observe([]float64{ev.Took.Seconds()})
		e.ended.add(1, causeLabel(ev.Cause))
	case shard.EventCallerRejected:
		e.rejected.add(1, codeLabels(ev.Code)...)
	}
}

func (e *Events) collectors() []prometheus.Collector {
	return []prometheus.Collector{e.handshakes, e.sessions, e.ended, e.rejected}
}
