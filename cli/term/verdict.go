package term

import "srtrelay/api/answer"

// mostly is how many times the loss of one side is that of the other if only the first is
// named: the relay can only guess which of several retransmissions arrived, and so counts a
// little for the other. The page's verdict.js has the same rule.
const mostly = 4

// verdict says on which side a stream loses media, and in how many of its sessions.
func (f figures) verdict(s answer.Stream) string {
	if s.CallerLoss == nil && s.BackendLoss == nil {
		return "no media at present"
	}
	in := func(n int) string {
		if n == s.Rated && n > 1 {
			return "in all " + plural(f, n, "session")
		}
		return "in " + f.count(uint64(n)) + " of " + plural(f, s.Rated, "session")
	}
	caller, backend := worse(s.CallerLoss), worse(s.BackendLoss)
	switch {
	case s.CallerLossy > 0 && s.BackendLossy > 0 && caller >= mostly*backend:
		return "mostly the caller's network, " + in(s.CallerLossy)
	case s.CallerLossy > 0 && s.BackendLossy > 0 && backend >= mostly*caller:
		return "mostly your network, " + in(s.BackendLossy)
	case s.CallerLossy > 0 && s.BackendLossy > 0:
		return "both networks: the caller's " + in(s.CallerLossy) + ", yours " + in(s.BackendLossy)
	case s.CallerLossy > 0:
		return "the caller's network, " + in(s.CallerLossy)
	case s.BackendLossy > 0:
		return "your network, " + in(s.BackendLossy)
	}
	return "clean"
}

// worse is the loss of a stream's worst session, 0 if it is not known.
func worse(percent *float64) float64 {
	if percent == nil {
		return 0
	}
	return *percent
}
