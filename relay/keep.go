package relay

import (
	"io"
	"log/slog"
	"os"

	"srtrelay/config"
	"srtrelay/internal/asynclog"
	"srtrelay/relay/keep"
)

// Keep runs relays with some arguments of serve as children of this process, which keeps
// their descriptors: one at a time, and the next one after a crash. It logs to stderr, and
// returns the last one's exit code.
func Keep(c config.Config, stderr io.Writer, args []string) (code int, err error) {
	lines := asynclog.Open(stderr, logFormat(c.LogFormat, levelOf(c)))
	defer lines.Close(logFlushTimeout)
	return keep.Run(keep.Program{
		Path: ownBinary(os.Args[0]), Args: append([]string{"serve"}, args...), Env: os.Environ(), Log: slog.New(lines.Handler()),
	})
}
