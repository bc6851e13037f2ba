// Command srtrelay relays SRT callers to SRT backends.
//
// This package is the top of the house: it reads the settings, joins the
// rooms and turns what happens into an exit code. It must not contain what a
// room could do. main.go is the shell around one run; run.go is the one file
// that knows every room.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"srtrelay/api/answer"
	"srtrelay/config"
	"srtrelay/internal/asynclog"
	"srtrelay/internal/supervise"
)

// Exit codes. A supervisor may restart after 1; after 2 a person must look.
const (
	exitClean       = 0
	exitFailed      = 1
	exitCannotStart = 2
)

// lastLines is how long the end waits for the log's reader, and once more for
// the line that says why.
const lastLines = time.Second

// version is set by the linker; see buildVersion.
var version string

// startError is a failure before the relay took its first caller: a busy
// port, a backend at the relay's own address.
type startError struct{ cause error }

// Error implements error.
func (e *startError) Error() string { return e.cause.Error() }

// Unwrap gives errors.Is and errors.As the cause.
func (e *startError) Unwrap() error { return e.cause }

// cannotStart marks err, so that the process exits with exitCannotStart.
func cannotStart(err error) error { return &startError{err} }

// runner runs the relay until drain is closed and its sessions are gone, or
// until ctx ends, which ends them.
type runner func(ctx context.Context, drain <-chan struct{}, c config.Config, p process) error

// process is what a relay has of the process it runs in.
type process struct {
	log        *slog.Logger
	lines      *asynclog.Log // what log writes to
	supervisor *supervise.Supervisor
}

// shell is what the process has around it.
type shell struct {
	env      func(string) (string, bool)
	environ  func() []string
	stdin    io.Reader
	readFile func(string) ([]byte, error)
	stdout   io.Writer
	stderr   io.Writer
	signals  <-chan os.Signal
	run      runner
}

func main() {
	// Three: the third signal must not be lost while the second is handled.
	signals := make(chan os.Signal, 3)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	s := shell{
		env:      os.LookupEnv,
		environ:  os.Environ,
		stdin:    os.Stdin,
		readFile: os.ReadFile,
		stdout:   os.Stdout,
		stderr:   os.Stderr,
		signals:  signals,
		run:      run,
	}
	os.Exit(s.main(os.Args[1:]))
}

// serve runs the relay. Whoever reads the log may stall or die: neither holds
// up a caller, a signal or the end.
func (s *shell) serve(args []string) int {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe is an error then
	ending := *s
	ending.stderr = limited{s.stderr}
	c, err := config.Load(args, s.env, s.readFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return s.say(s.usage())
	case errors.Is(err, config.ErrVersion):
		return s.say(versionLine())
	case err != nil:
		return ending.refuse(err)
	}
	err = s.runLogged(c)
	if _, early := errors.AsType[*startError](err); early {
		return ending.refuse(err)
	}
	if err != nil {
		ending.complain(err)
		return exitFailed
	}
	return exitClean
}

// limited is a writer that is given lastLines for each write.
type limited struct{ io.Writer }

// Write implements io.Writer.
func (l limited) Write(b []byte) (int, error) {
	if err := asynclog.WriteWithin(l.Writer, b, lastLines); err != nil {
		return 0, err
	}
	return len(b), nil
}

// runLogged runs the relay with a log of its own. When it returns, the log is
// written, or its reader has had its time.
func (s *shell) runLogged(c config.Config) error {
	lines := asynclog.Open(s.stderr, logFormat(c))
	defer lines.Close(lastLines)
	log := slog.New(lines.Handler())
	slog.SetDefault(log) // for what a dependency writes to the standard log
	for _, line := range c.Warnings {
		log.Warn(line)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	p := process{log: log, lines: lines, supervisor: supervise.New(log)}
	drain := make(chan struct{})
	watched, unwatch := context.WithCancel(context.Background())
	tasks := p.supervisor.Tasks()
	tasks.Go("signals", func() { s.watchSignals(watched, stop, drain, log) })
	defer tasks.Wait()
	defer unwatch()
	return s.run(ctx, drain, c, p)
}

// watchSignals closes drain at the first signal, calls stop at the second and
// ends the process at the third: by then something hangs that should not. What
// a signal does comes before the line that says so.
func (s *shell) watchSignals(ctx context.Context, stop context.CancelFunc, drain chan<- struct{}, log *slog.Logger) {
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
		case sig := <-s.signals:
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

func (s *shell) say(text string) int {
	if _, err := io.WriteString(s.stdout, text); err != nil {
		return exitFailed
	}
	return exitClean
}

func (s *shell) refuse(err error) int {
	s.complain(err)
	return exitCannotStart
}

// complain prints err as one line whatever it holds: joined errors have line
// breaks, and supervisors keep the last line.
func (s *shell) complain(err error) {
	text := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
	fmt.Fprintf(s.stderr, "srtrelay: %s\n", answer.Printable(text))
}

func versionLine() string { return "srtrelay " + buildVersion() + "\n" }

// buildVersion is what the linker was told, or else what the toolchain noted
// of the module or the commit.
func buildVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.revision" && len(setting.Value) >= 12 {
			return setting.Value[:12]
		}
	}
	return "devel"
}
