package cli

import (
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
	c.RunE = func(_ *cobra.Command, args []string) error { return s.serve(args) }
	return c
}

// serve runs the relay. A reader of the log that stalls or dies does not block the relay or its
// end.
func (s *Shell) serve(args []string) error {
	signal.Ignore(syscall.SIGPIPE) // so that a write to a closed pipe returns an error
	ending := *s
	ending.Stderr = timeoutWriter{s.Stderr}
	return ending.withSettings(args, func(c config.Config) error {
		c.Warnings = s.warnings(c)
		started, err := s.Serve(c)
		switch {
		case err == nil:
			return nil
		case !started:
			return exit(ending.refuse(err))
		}
		ending.printError(err)
		return exit(exitFailed)
	})
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
