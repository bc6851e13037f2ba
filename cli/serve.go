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

// lastLine is how long a line that says why the process ends may take.
const lastLine = time.Second

func (s *Shell) serveCommand() *cobra.Command {
	c := s.settingsCommand("serve [flags]", "run the relay")
	c.RunE = func(_ *cobra.Command, args []string) error { return exit(s.serve(args)) }
	return c
}

// serve runs the relay and returns the exit code. Whoever reads the log may
// stall or die: neither holds up a caller, a signal or the end.
func (s *Shell) serve(args []string) int {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed pipe is an error then
	ending := *s
	ending.Stderr = limitedWriter{s.Stderr}
	c, err := config.Load(args, s.LookupEnv, s.ReadFile)
	switch {
	case errors.Is(err, config.ErrHelp):
		return s.say(s.usage())
	case errors.Is(err, config.ErrVersion):
		return s.say(s.versionLine())
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
	ending.complain(err)
	return exitFailed
}

// limitedWriter is a writer that is given lastLine for each write.
type limitedWriter struct{ io.Writer }

// Write implements io.Writer.
func (l limitedWriter) Write(b []byte) (int, error) {
	if err := asynclog.WriteWithin(l.Writer, b, lastLine); err != nil {
		return 0, err
	}
	return len(b), nil
}
