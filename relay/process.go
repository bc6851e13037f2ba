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
)

// lastLines is how long the end of the process waits for the log's reader.
const lastLines = time.Second

// process is what a relay has of the process it runs in.
type process struct {
	version    string
	log        *slog.Logger
	lines      *asynclog.Log // what log writes to
	supervisor *supervise.Supervisor
}

// startError is a failure before the relay answered its first caller: a busy
// port, a backend at the relay's own address.
type startError struct{ cause error }

// Error implements error.
func (e *startError) Error() string { return e.cause.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *startError) Unwrap() error { return e.cause }

// Serve runs a relay that logs to stderr until it ends by itself or by signals:
// the first drains, the second stops at once, the third ends the process.
// started says whether it answered callers. Neither a reader of stderr that
// stalls nor one that dies holds it up.
func Serve(c config.Config, version string, stderr io.Writer, signals <-chan os.Signal) (started bool, err error) {
	return serve(c, version, stderr, signals, run)
}

// runner runs a relay as run does.
type runner func(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error

// serve is Serve with another runner. When it returns, the log is written, or
// its reader has had lastLines.
func serve(c config.Config, version string, stderr io.Writer, signals <-chan os.Signal, run runner) (started bool, err error) {
	lines := asynclog.Open(stderr, logFormat(c))
	defer lines.Close(lastLines)
	log := slog.New(lines.Handler())
	slog.SetDefault(log) // for what a dependency writes to the standard log
	for _, line := range c.Warnings {
		log.Warn(line)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := process{version: version, log: log, lines: lines, supervisor: supervise.New(log)}
	drain := make(chan struct{})
	watched, unwatch := context.WithCancel(context.Background())
	tasks := p.supervisor.Tasks()
	tasks.Go("signals", func() { watchSignals(watched, signals, stop, drain, log) })
	defer tasks.Wait()
	defer unwatch()
	err = run(ctx, drain, c, p)
	_, early := errors.AsType[*startError](err)
	return !early, err
}

// watchSignals closes drain at the first signal, calls stop at the second and
// ends the process at the third: by then something hangs that should not. It
// acts on a signal before it logs it.
func watchSignals(ctx context.Context, signals <-chan os.Signal, stop context.CancelFunc, drain chan<- struct{}, log *slog.Logger) {
	steps := []struct {
		say string
		do  func()
	}{
		{"draining", func() { close(drain) }},
		{"stopping at once", func() {
			signal.Reset(syscall.SIGINT, syscall.SIGTERM) // and not SIGPIPE
			stop()
		}},
		// One that came before the Reset.
		{"ending", func() { _ = syscall.Kill(syscall.Getpid(), syscall.SIGTERM) }},
	}
	for _, step := range steps {
		select {
		case <-ctx.Done():
			return
		case sig := <-signals:
			step.do()
			log.Info(step.say, "signal", sig.String())
		}
	}
}

// logFormat is how the one log of the process is written. Standard output stays
// free for what a person asked for.
func logFormat(c config.Config) asynclog.Format {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return func(w io.Writer) slog.Handler { return slog.NewJSONHandler(w, opts) }
	}
	return func(w io.Writer) slog.Handler { return slog.NewTextHandler(w, opts) }
}
