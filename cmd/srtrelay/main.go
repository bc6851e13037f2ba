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

	"srtrelay/api/answer"
	"srtrelay/config"
)

// Exit codes. A supervisor may restart after 1; after 2 a person must look.
const (
	exitClean       = 0
	exitFailed      = 1
	exitCannotStart = 2
)

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
type runner func(ctx context.Context, drain <-chan struct{}, c config.Config, log *slog.Logger) error

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

// serve runs the relay.
func (s *shell) serve(args []string) int {
	c, err := config.Load(args, s.env, s.readFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return s.say(s.usage())
	case errors.Is(err, config.ErrVersion):
		return s.say(versionLine())
	case err != nil:
		return s.refuse(err)
	}
	log := newLog(s.stderr, c)
	for _, line := range c.Warnings {
		log.Warn(line)
	}

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	drain := make(chan struct{})
	go s.watchSignals(ctx, stop, drain, log)

	err = s.run(ctx, drain, c, log)
	if _, early := errors.AsType[*startError](err); early {
		return s.refuse(err)
	}
	if err != nil {
		s.complain(err)
		return exitFailed
	}
	return exitClean
}

// watchSignals closes drain at the first signal, ends ctx at the second and
// the process at the third: by then something hangs that should not.
func (s *shell) watchSignals(ctx context.Context, stop context.CancelFunc, drain chan<- struct{}, log *slog.Logger) {
	steps := []struct {
		say string
		do  func()
	}{
		{"draining", func() { close(drain) }},
		{"stopping at once", stop},
	}
	for _, step := range steps {
		select {
		case <-ctx.Done():
			return
		case sig := <-s.signals:
			log.Info(step.say, "signal", sig.String())
			step.do()
		}
	}
	signal.Reset()
}

// newLog is the one logger of the process. Standard output stays free for
// what a person asked for.
func newLog(w io.Writer, c config.Config) *slog.Logger {
	opts := &slog.HandlerOptions{Level: c.LogLevel}
	if c.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
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
