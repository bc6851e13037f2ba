package term

import (
	"testing"

	"srtrelay/api/answer"
)

// The verdict names the side, and how many of the sessions are concerned.
func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		caller, backend             float64 // loss, negative if it is not known
		rated, callers, backendLegs int
		want                        string
	}{
		{-1, -1, 0, 0, 0, "no media at present"},
		{0, 0.09, 3, 0, 0, "clean"},
		{4.83, 0, 12, 3, 0, "the caller's network, in 3 of 12 sessions"},
		{4.83, -1, 1, 1, 0, "the caller's network, in 1 of 1 session"},
		{0, 3.1, 12, 0, 12, "your network, in all 12 sessions"},
		{6.77, 0.5, 12, 2, 1, "mostly the caller's network, in 2 of 12 sessions"},
		{0.2, 2, 12, 1, 12, "mostly your network, in all 12 sessions"},
		{2, 0.7, 4, 1, 4, "both networks: the caller's in 1 of 4 sessions, yours in all 4 sessions"},
	} {
		s := answer.Stream{Rated: c.rated, CallerLossy: c.callers, BackendLossy: c.backendLegs}
		if c.caller >= 0 {
			s.CallerLoss = &c.caller
		}
		if c.backend >= 0 {
			s.BackendLoss = &c.backend
		}
		if got := (figures{}).verdict(s); got != c.want {
			t.Errorf("%+v: %q, want %q", c, got, c.want)
		}
	}
}
