package relay

import (
	"errors"
	"testing"
	"time"

	"srtrelay/internal/asynclog"
)

// Lines of the log that were lost are mentioned while nobody reads it, and for some
// minutes afterwards.
func TestLogProblem(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	for _, c := range []struct {
		stats asynclog.Stats
		want  string
	}{
		{asynclog.Stats{}, ""},
		{asynclog.Stats{Since: ago(time.Second)}, ""},
		{asynclog.Stats{Since: ago(10 * time.Second), Lost: 7}, "the log is not read since 2026-01-02T03:03:55Z, 7 lines lost"},
		{asynclog.Stats{Since: ago(10 * time.Second), Err: errors.New("disk full")}, "the log is not read since 2026-01-02T03:03:55Z, 0 lines lost: disk full"},
		{asynclog.Stats{Lost: 7, LastLost: ago(time.Minute)}, "7 lines of the log were lost, the last one at 2026-01-02T03:03:05Z"},
		{asynclog.Stats{Lost: 7, LastLost: ago(time.Hour)}, ""},
	} {
		if got := logProblem(c.stats, now); got != c.want {
			t.Errorf("%+v: %q, want %q", c.stats, got, c.want)
		}
	}
}
