package main

import (
	"context"
	"log/slog"
	"time"

	"srtrelay/shard"
)

// rejectionsPerSecond is how many rejections are logged one by one. Whoever
// can receive at its address can provoke any number; the rest is counted.
const rejectionsPerSecond = 50

// eventLog writes what happens to sessions to the log.
type eventLog struct {
	log        *slog.Logger
	rejections int // since the last report
}

func newEventLog(log *slog.Logger) *eventLog { return &eventLog{log: log} }

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

// take writes an event unless it is one rejection too many.
func (l *eventLog) take(e shard.Event) {
	if e.Kind == shard.CallerRejected {
		if l.rejections++; l.rejections > rejectionsPerSecond {
			return
		}
	}
	logEvent(e, l.log)
}

// report says how many rejections of the last second were not written.
func (l *eventLog) report() {
	if hidden := l.rejections - rejectionsPerSecond; hidden > 0 {
		l.log.Warn("more callers rejected", "count", hidden)
	}
	l.rejections = 0
}

func logEvent(e shard.Event, log *slog.Logger) {
	role := "player"
	if e.Publish {
		role = "publisher"
	}
	log = log.With("shard", e.Shard)
	switch e.Kind {
	case shard.SessionBegun:
		log.Info("session begun", "stream", e.Key, "role", role, "caller", e.Caller,
			"backend", string(e.Backend), "address", e.Address, "caller_id", e.CallerID,
			"backend_id", e.BackendID, "handshake", e.Took.Round(time.Microsecond))
	case shard.SessionEnded:
		log.Info("session ended", "stream", e.Key, "role", role, "caller", e.Caller,
			"backend", string(e.Backend), "cause", e.Cause.String(), "lasted", e.Took.Round(time.Millisecond),
			"caller_id", e.CallerID, "backend_id", e.BackendID,
			"to_backend_packets", e.ToBackend.Packets, "to_backend_bytes", e.ToBackend.Bytes,
			"to_caller_packets", e.ToCaller.Packets, "to_caller_bytes", e.ToCaller.Bytes)
	case shard.CallerRejected:
		log.Info("caller rejected", "code", e.Code.String(), "stream", e.Key, "caller", e.Caller,
			"backend", string(e.Backend), "caller_id", e.CallerID)
	case shard.BackendGone:
		log.Warn("backend gone", "backend", string(e.Backend), "address", e.Address)
	}
}
