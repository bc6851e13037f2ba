package relay

import (
	"context"
	"log/slog"
	"time"

	"srtrelay/api"
	"srtrelay/config"
	"srtrelay/internal/supervise"
	"srtrelay/observe/eventlog"
)

// eventFile copies the feed to the file of --event-log. It is a reader of the feed like
// any other: what it cannot write in time is overwritten there, and counted.
type eventFile struct {
	log            *eventlog.Log
	tasks, waiting *supervise.Tasks
	end            context.CancelFunc
}

// openEventFile opens the file; nil if there is to be none.
func openEventFile(c config.Config, log *slog.Logger) (*eventFile, error) {
	if c.EventLog == "" {
		return nil, nil
	}
	l, err := eventlog.Open(c.EventLog, int64(c.EventLogSize), log)
	if err != nil {
		return nil, err
	}
	return &eventFile{log: l}, nil
}

// start copies events until stop.
func (f *eventFile) start(feed *api.Feed, s *supervise.Supervisor) {
	if f == nil {
		return
	}
	ctx, end := context.WithCancel(context.Background())
	f.tasks, f.waiting, f.end = s.Tasks(), s.Tasks(), end
	follower := api.NewFollower(feed)
	f.tasks.Loop(ctx, "event log file", func(ctx context.Context) { follower.Run(ctx, f.log.Write) })
}

// stop writes the last events. A disk or a pipe that is stuck does not hold up the end.
func (f *eventFile) stop() {
	if f == nil {
		return
	}
	f.end()
	written := make(chan struct{})
	f.waiting.Go("event log end", func() {
		f.tasks.Wait()
		close(written)
	})
	timer := time.NewTimer(logFlushTimeout)
	defer timer.Stop()
	select {
	case <-written:
		_ = f.log.Close() // nothing is left to be written
	case <-timer.C: // the file stays its writer's
	}
}

// stats counts what is missing in the file; nil without one.
func (f *eventFile) stats() func() eventlog.Stats {
	if f == nil {
		return nil
	}
	return f.log.Stats
}
