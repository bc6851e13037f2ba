//go:build linux

package suite

import "math"

const (
	// searchStep is how far the bracket grows at a time.
	searchStep = 1.5
	// nearStep is searchStep if the guess is from an earlier search.
	nearStep = 1.12
	// searchEnd is the ratio of the bracket's ends at which halving stops, which is about
	// the difference of two runs with one rate.
	searchEnd = 1.04
	// searchDown is how far a rate that was not confirmed is lowered.
	searchDown = 0.96
	// searchFloor and searchCeiling bound the search: no peer is slower, no generator on
	// one core is faster.
	searchFloor   = 2_000
	searchCeiling = 1_000_000
	// confirmations that a found rate must hold in a row.
	confirmations = 2
)

// bounds are the first rate of a search, the factor by which it brackets, and its highest
// rate.
type bounds struct {
	guess int
	step  float64
	most  int
}

// search finds the highest rate within bounds at which holds is true: it
// brackets, halves the bracket, then lowers the rate until it is confirmed. It
// is 0 when nothing holds down to the floor.
func search(in bounds, holds func(rate int, confirming bool) (bool, error)) (int, error) {
	low, high := 0, 0
	for rate := min(in.guess, in.most); low == 0 || high == 0; {
		ok, err := holds(rate, false)
		if err != nil {
			return 0, err
		}
		if ok {
			low, rate = rate, min(max(roundRate(float64(rate)*in.step), rate+rounding), in.most)
		} else {
			high, rate = rate, roundRate(float64(rate)/in.step)
		}
		if low == 0 && rate < searchFloor {
			return 0, nil
		}
		if low == in.most {
			high = in.most
		}
	}
	for high > 0 && float64(high)/float64(low) > searchEnd {
		middle := roundRate(math.Sqrt(float64(low) * float64(high)))
		if middle <= low || middle >= high {
			break // the ends are one rounding apart
		}
		ok, err := holds(middle, false)
		if err != nil {
			return 0, err
		}
		if ok {
			low = middle
		} else {
			high = middle
		}
	}
	return confirm(low, holds)
}

// twice tries a rate that did not hold again: on a shared machine the worse of two runs says
// more about other load than about the peer.
func twice(holds func(int, bool) (bool, error)) func(int, bool) (bool, error) {
	return func(rate int, confirming bool) (bool, error) {
		if ok, err := holds(rate, confirming); ok || err != nil {
			return ok, err
		}
		return holds(rate, confirming)
	}
}

// confirm lowers a rate until it holds as often in a row as it must.
func confirm(rate int, holds func(int, bool) (bool, error)) (int, error) {
	for rate >= searchFloor {
		held := 0
		for held < confirmations {
			ok, err := holds(rate, true)
			if err != nil {
				return 0, err
			}
			if !ok {
				break
			}
			held++
		}
		if held == confirmations {
			return rate, nil
		}
		rate = roundRate(float64(rate) * searchDown)
	}
	return 0, nil
}

// rounding keeps rates readable, and whole per session.
const rounding = 500

// stepBelow is the next lower rate that a search can find. Two searches of one peer are often
// that far apart, so two peers that are differ by nothing that searches can tell.
func stepBelow(rate float64) float64 { return float64(roundRate(rate * min(searchDown, 1/searchEnd))) }

func roundRate(rate float64) int { return int(rate/rounding) * rounding }
