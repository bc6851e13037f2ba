package relay

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"srtrelay/config"
	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
	"srtrelay/relay/notify"
	"srtrelay/relay/takeover"
)

// logFlushTimeout is how long the process waits for the log's reader at its end.
const logFlushTimeout = time.Second

// process is what a relay gets from its process.
type process struct {
	version    string
	log        *slog.Logger
	lines      *asynclog.Log // the queue behind log
	level      *slog.LevelVar
	supervisor *supervise.Supervisor
	manager    *notify.Manager  // nil if no service manager wants to be notified
	report     *takeover.Report // nil if nobody waits for this process to take over
	stored     []notify.Stored  // what the service manager has kept of a process before
}

// startError is a failure before the relay could answer callers, such as a port in use.
type startError struct{ cause error }

// Error implements error.
func (e *startError) Error() string { return e.cause.Error() }

// Unwrap returns the cause, for errors.Is and errors.As.
func (e *startError) Unwrap() error { return e.cause }

// Serve runs a relay that logs to stderr, until it fails or is stopped by signals: the
// first drains, the second stops at once, the third ends the process. started is false
// if it never answered callers. A reader of stderr that stalls or dies does not block
// the relay. report is told of a take-over that has succeeded.
func Serve(
	c config.Config, version string, stderr io.Writer, signals <-chan os.Signal, report *takeover.Report,
) (started bool, err error) {
	return serve(c, version, stderr, signals, report, run)
}

// runner is the type of run.
type runner func(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error

// serve is Serve with another runner. It returns when the log is written, or after
// logFlushTimeout.
func serve(
	c config.Config, version string, stderr io.Writer, signals <-chan os.Signal, report *takeover.Report, run runner,
) (started bool, err error) {
	level := levelOf(c)
	lines := asynclog.Open(stderr, logFormat(c.LogFormat, level))
	defer lines.Close(logFlushTimeout)
	log := slog.New(lines.Handler())
	slog.SetDefault(log) // for dependencies that use the standard log
	for _, line := range c.Warnings {
		log.Warn(line)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := process{
		version: version, log: log, lines: lines, level: level, supervisor: supervise.New(log), manager: notify.Open(os.LookupEnv, log),
		report: report, stored: notify.TakeStored(os.LookupEnv),
	}
	drain := make(chan struct{})
	watching, stopWatching := context.WithCancel(context.Background())
	tasks := p.supervisor.Tasks()
	tasks.Go("signals", func() { watchSignals(watching, signals, stop, drain, log) })
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2)
	defer signal.Ignore(syscall.SIGUSR2) // its default action ends the process
	tasks.Go("upgrade signal", func() { watchUpgrades(watching, upgrades, c, p) })
	defer tasks.Wait()
	defer stopWatching()
	err = run(ctx, drain, c, p)
	_, early := errors.AsType[*startError](err)
	return !early, err
}

// sameSignal is how long after a signal further ones count as the same. Ctrl-C reaches
// the relay from the terminal and again from a make or a shell that passes it on, and
// some supervisors signal both the process and its group.
const sameSignal = time.Second

// watchSignals closes drain at the first signal, calls stop at the second, and ends the
// process at the third, in case something hangs. It acts before it logs, because the log
// may be what hangs.
func watchSignals(ctx context.Context, signals <-chan os.Signal, stop context.CancelFunc, drain chan<- struct{}, log *slog.Logger) {
	steps := []struct {
		message string
		do      func()
	}{
		{"draining", func() { close(drain) }},
		{"stopping at once", stop},
	}
	for _, step := range steps {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			step.do()
			log.Info(step.message, "signal", sig.String())
		}
		if !ignoreSignals(ctx, signals, sameSignal) {
			return
		}
	}
	signal.Reset(syscall.SIGINT, syscall.SIGTERM) // SIGPIPE stays ignored
	select {
	case <-ctx.Done():
	case <-signals: // it came before the Reset
		_ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM)
	}
}

// ignoreSignals ignores signals for a time. It returns false if ctx ends.
func ignoreSignals(ctx context.Context, signals <-chan os.Signal, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return true
		case <-signals:
		}
	}
}

// notifyHangup has SIGHUP sent to a channel, instead of ending the process.
func notifyHangup(to chan<- os.Signal) { signal.Notify(to, syscall.SIGHUP) }

// logFormat returns the format of the log.
func logFormat(name string, level slog.Leveler) asynclog.Format {
	opts := &slog.HandlerOptions{Level: level}
	if name == "json" {
		return func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }
	}
	return func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }
}
