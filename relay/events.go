package relay

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	"srtrelay/streamid"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/observe/metrics"
	"srtrelay/shard"
)

// rejectionsPerSecond is how many rejections are told one by one. Whoever can
// receive at its address can provoke any number; the rest is counted.
const rejectionsPerSecond = 50

// sessionLinesPerSecond is how many beginnings and ends of sessions the log is
// told one by one: more than a thousand callers that reconnect make in a few
// seconds, and less than what a container runtime takes. The feed has them all.
const sessionLinesPerSecond = 500

// eventSinks are where events go, beside the log.
type eventSinks struct {
	feed    *api.Feed
	counted *metrics.Events
}

func newEventSinks() eventSinks {
	return eventSinks{feed: api.NewFeed(time.Now()), counted: metrics.NewEvents()}
}

// rulesRead tells that the file of rules was read anew, and whether it is in
// force.
func (c eventSinks) rulesRead(err error) {
	e := answer.Event{Time: time.Now().UTC(), Kind: answer.EventRulesChanged, Cause: "in force"}
	if err != nil {
		e.Cause = "not reloaded: " + err.Error()
	}
	c.feed.Publish(e)
}

// eventLog writes what happens to sessions to the log and the feed.
type eventLog struct {
	log   *slog.Logger
	sinks eventSinks
	// Of the last second: since the last report.
	rejections, sessions, sockets limit
}

// limit counts what comes within a second, and says what is too much.
type limit struct{ most, seen int }

func (l *limit) admits() bool {
	l.seen++
	return l.seen <= l.most
}

// rest returns how many were not admitted, and begins the next second.
func (l *limit) rest() int {
	rest := max(l.seen-l.most, 0)
	l.seen = 0
	return rest
}

func newEventLog(log *slog.Logger, sinks eventSinks) *eventLog {
	return &eventLog{
		log: log, sinks: sinks,
		rejections: limit{most: rejectionsPerSecond}, sessions: limit{most: sessionLinesPerSecond}, sockets: limit{most: 1},
	}
}

// run writes until ctx ends, and then what is still queued: the last sessions
// end as the relay stops.
func (l *eventLog) run(ctx context.Context, events <-chan shard.Event) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-events:
			l.take(e)
		case <-tick.C:
			l.report()
		case <-ctx.Done():
			for {
				select {
				case e := <-events:
					l.take(e)
				default:
					l.report()
					return
				}
			}
		}
	}
}

// take counts an event, and writes it unless there are too many of its kind.
func (l *eventLog) take(e shard.Event) {
	l.sinks.counted.Take(e)
	line := true
	switch e.Kind {
	case shard.CallerRejected:
		if !l.rejections.admits() {
			return
		}
	case shard.SessionBegun, shard.SessionEnded:
		line = l.sessions.admits()
	case shard.UpstreamFailed:
		if l.sockets.admits() {
			l.log.Error("cannot open another upstream socket", "shard", e.Shard, "error", e.Err)
		}
		return // its callers are rejected, which the feed tells
	}
	if line {
		logEvent(e, l.log)
	}
	l.sinks.feed.Publish(eventAnswer(e, time.Now()))
}

// report says what of the last second was not written.
func (l *eventLog) report() {
	if hidden := l.rejections.rest(); hidden > 0 {
		l.log.Warn("more callers rejected", "count", hidden)
		l.sinks.feed.Publish(answer.Event{Time: time.Now().UTC(), Kind: answer.EventMoreRejected, Lost: uint64(hidden)})
	}
	if hidden := l.sessions.rest(); hidden > 0 {
		l.log.Info("more sessions begun or ended", "count", hidden)
	}
	if hidden := l.sockets.rest(); hidden > 0 {
		l.log.Error("more upstream sockets could not be opened", "count", hidden)
	}
}

// streamOf names the stream: by its key, or by what the caller sent if that was
// refused before it had one.
func streamOf(e shard.Event) string {
	return cmp.Or(e.Key, streamid.Redact(e.StreamID))
}

func logEvent(e shard.Event, log *slog.Logger) {
	log = log.With("shard", e.Shard)
	switch e.Kind {
	case shard.SessionBegun:
		log.Info("session begun", "session", e.Session.String(), "stream", e.Key, "role", answer.Role(e.Publish), "caller", e.Caller,
			"backend", string(e.Backend), "address", e.Address, "caller_id", e.CallerID,
			"backend_id", e.BackendID, "handshake", e.Took.Round(time.Microsecond))
	case shard.SessionEnded:
		log.Info("session ended", "session", e.Session.String(), "stream", e.Key, "role", answer.Role(e.Publish), "caller", e.Caller,
			"backend", string(e.Backend), "cause", e.Cause.String(), "lasted", e.Took.Round(time.Millisecond),
			"caller_id", e.CallerID, "backend_id", e.BackendID,
			"to_backend_packets", e.ToBackend.Packets, "to_backend_bytes", e.ToBackend.Bytes,
			"to_caller_packets", e.ToCaller.Packets, "to_caller_bytes", e.ToCaller.Bytes)
	case shard.CallerRejected:
		log.Info("caller rejected", "code", e.Code.String(), "stream", streamOf(e), "caller", e.Caller,
			"backend", string(e.Backend), "caller_id", e.CallerID)
	case shard.BackendGone:
		log.Warn("backend gone", "backend", string(e.Backend), "address", e.Address)
	}
}

// eventAnswer is what the feed tells of an event.
func eventAnswer(e shard.Event, now time.Time) answer.Event {
	a := answer.Event{
		Time: now.UTC(), Shard: &e.Shard, Stream: streamOf(e), Backend: string(e.Backend),
		TookMillis: float64(e.Took.Microseconds()) / 1000,
	}
	if e.Caller.IsValid() {
		a.Caller = e.Caller.String()
	}
	if e.Address.IsValid() {
		a.Address = e.Address.String()
	}
	if !e.Session.IsZero() {
		a.Session = e.Session.String()
	}
	switch e.Kind {
	case shard.SessionBegun:
		a.Kind, a.Role = answer.EventSessionBegun, answer.Role(e.Publish)
	case shard.SessionEnded:
		a.Kind, a.Role, a.Cause = answer.EventSessionEnded, answer.Role(e.Publish), e.Cause.String()
	case shard.CallerRejected:
		a.Kind, a.Code = answer.EventCallerRejected, int(e.Code)
		if _, a.Reason, _ = strings.Cut(e.Code.String(), " "); e.Key != "" {
			a.Role = answer.Role(e.Publish)
		}
	case shard.BackendGone:
		a.Kind = answer.EventBackendGone
	}
	return a
}
