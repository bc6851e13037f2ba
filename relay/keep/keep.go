package keep

import (
	"log/slog"
	"time"
)

// Program is the program that is started, and kept running.
type Program struct {
	Path string
	Args []string // without the name
	Env  []string
	Log  *slog.Logger // must not block
}

// The pause before a further start after a failed one doubles from one to the other.
const (
	shortestPause = 100 * time.Millisecond
	longestPause  = 5 * time.Second
)

// pauseAfter is the pause after some failures in a row before this one.
func pauseAfter(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(shortestPause<<min(failures-1, 16), longestPause)
}
