package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"srtrelay/internal/supervise"
	"srtrelay/relay/notify"
	"srtrelay/shard"
	"srtrelay/udp"
)

const (
	// statusInterval is how often the service manager gets a new status line.
	statusInterval = 5 * time.Second
	// stopTimeout is more than the relay needs to stop when no session is left to wait
	// for: the SHUTDOWNs of all sessions, the API, the event log, and the log.
	stopTimeout = 10 * time.Second
)

// inheritManager has this process report to the service manager of the one that it takes over
// from, if it has none itself: a shell has started it, or docker exec. srtrelay keep then goes on
// to keep a relay; systemd does not listen to a process that is not of the unit.
func (r *relay) inheritManager(before *predecessor) {
	if r.manager != nil || before == nil || before.taker == nil || before.taker.Giver().PID == 0 {
		return // a name may mean another socket in another container
	}
	at := before.taker.Giver().Settings[settingManager]
	r.manager = notify.Open(func(name string) (string, bool) { return at, name == "NOTIFY_SOCKET" }, r.log)
	r.inherited = r.manager != nil
}

// startManagerTasks starts what reports to the service manager until background ends.
func (r *relay) startManagerTasks(background context.Context) {
	if r.manager == nil {
		return
	}
	r.tasks.Loop(background, "service manager", r.manager.Run)
	r.tasks.Loop(background, "status", r.reportStatus)
	if r.manager.HasWatchdog() {
		r.tasks.Loop(background, "watchdog", func(ctx context.Context) { r.manager.Watch(ctx, r.awaitTurns) })
	}
}

// reportReloading reports that a reload begins; Ready ends it.
func (r *relay) reportReloading() {
	now, err := udp.Monotonic()
	if err != nil {
		r.log.Warn("the service manager does not learn of a reload", "error", err)
		return
	}
	r.manager.Reloading(now)
}

// awaitTurns is the watchdog's question: it waits until every shard has turned. The
// watchdog has nothing to say of a relay whose shards have ended: it ends too.
func (r *relay) awaitTurns(ctx context.Context) error {
	if !r.state.started.Load() {
		return nil
	}
	if err := r.group.AwaitTurns(ctx); !errors.Is(err, shard.ErrStopped) {
		return err
	}
	return nil
}

// reportStatus reports the status until ctx ends.
func (r *relay) reportStatus(ctx context.Context) {
	r.manager.Status(r.status())
	supervise.Every(ctx, statusInterval, func(time.Time) { r.manager.Status(r.status()) })
}

// status describes the relay in one line.
func (r *relay) status() string {
	sessions := r.group.Live()
	if r.state.draining.Load() {
		return fmt.Sprintf("draining, sessions left: %d", sessions)
	}
	available, _ := r.state.Available()
	text := fmt.Sprintf("sessions: %d, backends that take streams: %d of %d", sessions, available, len(r.registry.Snapshot().Backends))
	overloaded, _ := r.overload.problem()
	return joined(text, overloaded)
}
