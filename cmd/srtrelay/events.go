package main

import (
	"cmp"
	"context"
	"log/slog"
	"strings"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/handshake"
	"srtrelay/metrics"
	"srtrelay/shard"
)

// rejectionsPerSecond is how many rejections are told one by one. Whoever can
// receive at its address can provoke any number; the rest is counted.
const rejectionsPerSecond = 50

// chronicle is where what happens is told, beside the log.
type chronicle struct {
	feed    *api.Feed
	counted *metrics.Events
}

func newChronicle() chronicle {
	return chronicle{feed: api.NewFeed(time.Now()), counted: metrics.NewEvents()}
}

// rulesRead tells that the file of rules was read anew, and whether it is in
// force.
func (c chronicle) rulesRead(err error) {
	e := answer.Event{Time: time.Now().UTC(), Kind: api.RulesChanged, Cause: "in force"}
	if err != nil {
		e.Cause = "not reloaded: " + err.Error()
	}
	c.feed.Publish(e)
}

// eventLog writes what happens to sessions to the log and the feed.
type eventLog struct {
	log        *slog.Logger
	told       chronicle
	rejections int // since the last report
}

func newEventLog(log *slog.Logger, told chronicle) *eventLog {
	return &eventLog{log: log, told: told}
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

// take counts an event, and writes it unless it is one rejection too many.
func (l *eventLog) take(e shard.Event) {
	l.told.counted.Take(e)
	if e.Kind == shard.CallerRejected {
		if l.rejections++; l.rejections > rejectionsPerSecond {
			return
		}
	}
	logEvent(e, l.log)
	l.told.feed.Publish(eventAnswer(e, time.Now()))
}

// report says how many rejections of the last second were not written.
func (l *eventLog) report() {
	if hidden := l.rejections - rejectionsPerSecond; hidden > 0 {
		l.log.Warn("more callers rejected", "count", hidden)
		l.told.feed.Publish(answer.Event{Time: time.Now().UTC(), Kind: api.MoreRejected, Lost: uint64(hidden)})
	}
	l.rejections = 0
}

func role(publish bool) string {
	if publish {
		return "publisher"
	}
	return "player"
}

// streamOf names the stream: by its key, or by what the caller sent if that was
// refused before it had one.
func streamOf(e shard.Event) string {
	return cmp.Or(e.Key, handshake.Shown(e.StreamID))
}

func logEvent(e shard.Event, log *slog.Logger) {
	log = log.With("shard", e.Shard)
	switch e.Kind {
	case shard.SessionBegun:
		log.Info("session begun", "session", e.Session.String(), "stream", e.Key, "role", role(e.Publish), "caller", e.Caller,
			"backend", string(e.Backend), "address", e.Address, "caller_id", e.CallerID,
			"backend_id", e.BackendID, "handshake", e.Took.Round(time.Microsecond))
	case shard.SessionEnded:
		log.Info("session ended", "session", e.Session.String(), "stream", e.Key, "role", role(e.Publish), "caller", e.Caller,
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
		a.Kind, a.Role = api.SessionBegun, role(e.Publish)
	case shard.SessionEnded:
		a.Kind, a.Role, a.Cause = api.SessionEnded, role(e.Publish), e.Cause.String()
	case shard.CallerRejected:
		a.Kind, a.Code = api.CallerRejected, int(e.Code)
		if _, a.Reason, _ = strings.Cut(e.Code.String(), " "); e.Key != "" {
			a.Role = role(e.Publish)
		}
	case shard.BackendGone:
		a.Kind = api.BackendGone
	}
	return a
}
