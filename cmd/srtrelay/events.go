package main

import (
	"context"
	"log/slog"
	"time"

	"srtrelay/shard"
)

// logEvents writes what happens to sessions until ctx ends, and then what is
// still queued: the last sessions end as the relay stops.
func logEvents(ctx context.Context, events <-chan shard.Event, log *slog.Logger) {
	for {
		select {
		case e := <-events:
			logEvent(e, log)
		case <-ctx.Done():
			for {
				select {
				case e := <-events:
					logEvent(e, log)
				default:
					return
				}
			}
		}
	}
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
