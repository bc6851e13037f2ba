package relay

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/internal/bitrate"
	"srtrelay/observe/metrics"
	"srtrelay/shard"
	limits "srtrelay/shard/limit"
	"srtrelay/streamid"
)

// rejectionsPerSecond is how many rejections have a log line and an event of their own;
// the rest is counted. Every host that can receive can cause any number of them. As many
// publishers above their bitrate have a line.
const rejectionsPerSecond = 50

// sessionLinesPerSecond is how many beginnings and ends of sessions have a log line of
// their own: more than a thousand reconnecting callers make in a few seconds, and fewer
// than a container runtime's log can take. The feed has all of them.
const sessionLinesPerSecond = 500

// eventSinks are the receivers of events beside the log.
type eventSinks struct {
	feed    *api.Feed
	counted *metrics.Events
	// flush asks eventLog to handle all queued events, and to close what it receives;
	// flushChanges asks changeFollower to compare the backends.
	flush, flushChanges chan chan struct{}
}

func newEventSinks() eventSinks {
	return eventSinks{feed: api.NewFeed(time.Now()), counted: metrics.NewEvents(), flush: make(chan chan struct{}), flushChanges: make(chan chan struct{})}
}

// awaitPublished waits until all that has happened is published: the events that the
// shards have queued, and changes of backends. It waits for each at most for a time.
func (c eventSinks) awaitPublished(atMost time.Duration) {
	for _, flush := range []chan chan struct{}{c.flush, c.flushChanges} {
		limit := time.NewTimer(atMost)
		done := make(chan struct{})
		select {
		case flush <- done:
			select {
			case <-done:
			case <-limit.C:
			}
		case <-limit.C:
		}
		limit.Stop()
	}
}

// publishRulesReload publishes that the rules file was read again, and whether it is in
// force.
func (c eventSinks) publishRulesReload(err error) {
	e := answer.Event{Time: time.Now().UTC(), Kind: answer.EventRulesChanged, Cause: "in force"}
	if err != nil {
		e.Cause = "not reloaded: " + err.Error()
	}
	c.feed.Publish(e)
}

// publishConfigReload publishes what a reload of the configuration has done.
func (c eventSinks) publishConfigReload(outcome string) {
	c.feed.Publish(answer.Event{Time: time.Now().UTC(), Kind: answer.EventConfigReloaded, Cause: outcome})
}

// eventLog writes the shards' events to the log and the feed.
type eventLog struct {
	log   *slog.Logger
	sinks eventSinks
	note  func(*shard.Event) // publishes sessions for other relays; it does not wait
	// Counts since the last report, which comes once per second.
	rejections, sessions, overLimit, sockets limit
}

// limit allows most calls until it is reset.
type limit struct{ most, seen int }

func (l *limit) allow() bool {
	l.seen++
	return l.seen <= l.most
}

// reset returns how many calls were not allowed, and counts from 0 again.
func (l *limit) reset() int {
	rest := max(l.seen-l.most, 0)
	l.seen = 0
	return rest
}

func newEventLog(log *slog.Logger, sinks eventSinks) *eventLog {
	return &eventLog{
		log: log, sinks: sinks, note: func(*shard.Event) {},
		rejections: limit{most: rejectionsPerSecond}, sessions: limit{most: sessionLinesPerSecond},
		overLimit: limit{most: rejectionsPerSecond}, sockets: limit{most: 1},
	}
}

// run handles events until ctx ends, and then those still in the queue, which include
// the ends of the last sessions.
func (l *eventLog) run(ctx context.Context, events <-chan *shard.Event) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case e := <-events:
			l.handle(*e)
		case <-tick.C:
			l.report()
		case done := <-l.sinks.flush:
			l.handleQueued(events)
			close(done)
		case <-ctx.Done():
			l.handleQueued(events)
			l.report()
			return
		}
	}
}

// handleQueued handles the events in the queue.
func (l *eventLog) handleQueued(events <-chan *shard.Event) {
	for {
		select {
		case e := <-events:
			l.handle(*e)
		default:
			return
		}
	}
}

// handle counts an event, and logs and publishes it within the limits.
func (l *eventLog) handle(e shard.Event) {
	l.sinks.counted.Count(e)
	l.note(&e)
	line := true
	switch e.Kind {
	case shard.EventHandshakeBegun:
		return // it is for other relays only
	case shard.EventCallerRejected:
		if !l.rejections.allow() {
			return
		}
	case shard.EventSessionBegun, shard.EventSessionEnded, shard.EventSessionMigrated:
		line = l.sessions.allow()
	case shard.EventStreamOverLimit:
		line = l.overLimit.allow()
	case shard.EventUpstreamFailed:
		if l.sockets.allow() {
			l.log.Error("cannot open another upstream socket", "shard", e.Shard, "error", e.Err)
		}
		return // the feed has the rejections of its callers
	}
	if line {
		logEvent(e, l.log)
	}
	l.sinks.feed.Publish(eventAnswer(e, time.Now()))
}

// report logs how many events of the last second have no line of their own.
func (l *eventLog) report() {
	if hidden := l.rejections.reset(); hidden > 0 {
		l.log.Warn("more callers rejected", "count", hidden)
		l.sinks.feed.Publish(answer.Event{Time: time.Now().UTC(), Kind: answer.EventMoreRejected, Lost: uint64(hidden)})
	}
	if hidden := l.sessions.reset(); hidden > 0 {
		l.log.Info("more sessions begun or ended", "count", hidden)
	}
	if hidden := l.overLimit.reset(); hidden > 0 {
		l.log.Warn("more streams above their bitrate", "count", hidden)
	}
	if hidden := l.sockets.reset(); hidden > 0 {
		l.log.Error("more upstream sockets could not be opened", "count", hidden)
	}
}

// streamOf returns the stream's key or, for a caller that was rejected before it had
// one, its redacted stream ID.
func streamOf(e shard.Event) string {
	return cmp.Or(e.Key, streamid.Redact(e.StreamID))
}

func logEvent(e shard.Event, log *slog.Logger) {
	log = log.With("shard", e.Shard)
	switch e.Kind {
	case shard.EventSessionBegun:
		log.Info("session begun", "session", e.Session.String(), "stream", e.Key, "role", answer.Role(e.Publish), "caller", e.Caller,
			"backend", string(e.Backend), "address", e.Address, "caller_id", e.CallerID,
			"backend_id", e.BackendID, "handshake", e.Took.Round(time.Microsecond))
	case shard.EventSessionEnded:
		log.Info("session ended", "session", e.Session.String(), "stream", e.Key, "role", answer.Role(e.Publish), "caller", e.Caller,
			"backend", string(e.Backend), "cause", e.Cause.String(), "lasted", e.Took.Round(time.Millisecond),
			"caller_id", e.CallerID, "backend_id", e.BackendID,
			"to_backend_packets", e.ToBackend.Packets, "to_backend_bytes", e.ToBackend.Bytes,
			"to_caller_packets", e.ToCaller.Packets, "to_caller_bytes", e.ToCaller.Bytes)
	case shard.EventSessionMigrated:
		log.Info("session migrated", "session", e.Session.String(), "stream", e.Key, "role", answer.Role(e.Publish),
			"former", e.Former, "caller", e.Caller, "backend", string(e.Backend), "gap", e.Took.Round(time.Millisecond),
			"caller_id", e.CallerID, "backend_id", e.BackendID)
	case shard.EventCallerRejected:
		if e.Limit != limits.NoLimit {
			log = log.With("limit", e.Limit.String())
		}
		log.Info("caller rejected", "code", e.Code.String(), "stream", streamOf(e), "caller", e.Caller,
			"backend", string(e.Backend), "caller_id", e.CallerID)
	case shard.EventStreamOverLimit:
		log.Warn("stream above its bitrate", "session", e.Session.String(), "stream", e.Key, "caller", e.Caller,
			"bitrate", bitrate.Format(int64(e.Bitrate)), "limit", bitrate.Format(int64(e.MaxBitrate)))
	case shard.EventBackendLost:
		log.Warn("backend gone", "backend", string(e.Backend), "address", e.Address)
	}
}

// eventAnswer converts a shard's event to the feed's.
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
	case shard.EventSessionBegun:
		a.Kind, a.Role = answer.EventSessionBegun, answer.Role(e.Publish)
	case shard.EventSessionEnded:
		a.Kind, a.Role, a.Cause = answer.EventSessionEnded, answer.Role(e.Publish), e.Cause.String()
	case shard.EventSessionMigrated:
		a.Kind, a.Role, a.Former = answer.EventSessionMigrated, answer.Role(e.Publish), e.Former.String()
	case shard.EventCallerRejected:
		a.Kind, a.Code, a.Limit = answer.EventCallerRejected, int(e.Code), e.Limit.String()
		if _, a.Reason, _ = strings.Cut(e.Code.String(), " "); e.Key != "" {
			a.Role = answer.Role(e.Publish)
		}
	case shard.EventBackendLost:
		a.Kind = answer.EventBackendGone
	case shard.EventStreamOverLimit:
		a.Kind, a.Role = answer.EventStreamOverLimit, answer.Role(e.Publish)
		a.Bitrate, a.MaxBitrate = float64(e.Bitrate), float64(e.MaxBitrate)
	}
	return a
}
