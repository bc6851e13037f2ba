package cli

import (
	"errors"
	"io"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"srtrelay/config"
	"srtrelay/internal/asynclog"
)

// lastLineTimeout bounds the write of the line that says why the process ends.
const lastLineTimeout = time.Second

func (s *Shell) serveCommand() *cobra.Command {
	c := s.settingsCommand("serve [flags]", "run the relay")
	c.RunE = func(_ *cobra.Command, args []string) error { return exit(s.serve(args)) }
	return c
}

// serve runs the relay and returns the exit code. A reader of the log that stalls or dies does
// not block the relay or its end.
func (s *Shell) serve(args []string) int {
	signal.Ignore(syscall.SIGPIPE) // so that a write to a closed pipe returns an error
	ending := *s
	ending.Stderr = timeoutWriter{s.Stderr}
	c, err := config.Load(args, s.LookupEnv, s.ReadFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return s.print(s.usage())
	case errors.Is(err, config.ErrVersion):
		return s.print(s.versionLine())
	case err != nil:
		return ending.refuse(err)
	}
	c.Warnings = s.warnings(c)
	started, err := s.Serve(c)
	switch {
	case err == nil:
		return exitClean
	case !started:
		return ending.refuse(err)
	}
	ending.printError(err)
	return exitFailed
}

// timeoutWriter gives up each write after lastLineTimeout.
type timeoutWriter struct{ io.Writer }

// Write implements io.Writer.
func (l timeoutWriter) Write(b []byte) (int, error) {
	if err := asynclog.WriteWithin(l.Writer, b, lastLineTimeout); err != nil {
		return 0, err
	}
	return len(b), nil
}
