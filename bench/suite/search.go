package suite

import "math"

const (
	// searchStep is how far the bracket grows at a time.
	searchStep = 1.5
	// searchEnd is the ratio of the bracket's ends at which halving stops:
	// finer than what two runs of one rate differ by makes no sense.
	searchEnd = 1.04
	// searchDown is how far a rate that was not confirmed is lowered.
	searchDown = 0.96
	// searchFloor and searchCeiling bound the search; nothing that is
	// compared here is slower, no generator on one core is faster.
	searchFloor   = 2_000
	searchCeiling = 1_000_000
	// confirmations that a found rate must hold in a row.
	confirmations = 2
)

// search finds the highest rate up to most at which holds is true, starting
// from a guess: it brackets, halves the bracket, then lowers the rate until it
// is confirmed. It is 0 when nothing holds down to the floor.
func search(guess, most int, holds func(rate int, confirming bool) (bool, error)) (int, error) {
	low, high := 0, 0
	for rate := min(guess, most); low == 0 || high == 0; {
		ok, err := holds(rate, false)
		if err != nil {
			return 0, err
		}
		if ok {
			low, rate = rate, min(int(float64(rate)*searchStep), most)
		} else {
			high, rate = rate, int(float64(rate)/searchStep)
		}
		if low == 0 && rate < searchFloor {
			return 0, nil
		}
		if low == most {
			high = most
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

// twice gives a rate that did not hold a second try: on a shared machine the
// better of two runs tells more of the peer, and the worse more of strangers.
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

// roundRate keeps rates readable, and whole per session.
func roundRate(rate float64) int { return int(rate/500) * 500 }
