//go:build linux

package suite

import (
	"errors"
	"testing"
)

func TestSearchFindsTheHighestRate(t *testing.T) {
	for _, c := range []struct {
		limit, guess int
		step         float64
		steps        int // at most
	}{
		{60_000, 60_000, searchStep, 10},
		{61_000, 60_000, searchStep, 10},
		{250_000, 60_000, searchStep, 12},
		{9_000, 60_000, searchStep, 14},
		{3_500, 60_000, searchStep, 18},
		{120_000, 400_000, searchStep, 12},
		{900_000, 60_000, searchStep, 18},
		{120_000, 115_000, nearStep, 6},
		{110_000, 115_000, nearStep, 6},
		{95_000, 115_000, nearStep, 7},
		{3_000, 2_500, nearStep, 6},
		{180_000, 115_000, nearStep, 11},
	} {
		steps := 0
		got, err := search(bounds{c.guess, c.step, searchCeiling}, func(rate int, _ bool) (bool, error) {
			steps++
			return rate <= c.limit, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if got > c.limit || float64(got)*searchEnd*1.01+1000 < float64(c.limit) {
			t.Errorf("limit %d: found %d", c.limit, got)
		}
		if steps > c.steps {
			t.Errorf("limit %d, guess %d: %d steps, want %d at most", c.limit, c.guess, steps, c.steps)
		}
	}
}

func TestSearchEnds(t *testing.T) {
	never := func(int, bool) (bool, error) { return false, nil }
	if got, err := search(bounds{60_000, searchStep, searchCeiling}, never); got != 0 || err != nil {
		t.Errorf("nothing holds, found %d, %v", got, err)
	}
	always := func(int, bool) (bool, error) { return true, nil }
	if got, err := search(bounds{60_000, searchStep, searchCeiling}, always); got != searchCeiling || err != nil {
		t.Errorf("everything holds, found %d, %v", got, err)
	}
	if got, err := search(bounds{60_000, searchStep, 145_000}, always); got != 145_000 || err != nil {
		t.Errorf("everything holds up to 145000, found %d, %v", got, err)
	}
	broken := errors.New("broken")
	if _, err := search(bounds{60_000, searchStep, searchCeiling}, func(int, bool) (bool, error) { return false, broken }); !errors.Is(err, broken) {
		t.Errorf("error lost: %v", err)
	}
}

// A rate that held once by luck must not be the result.
func TestSearchConfirms(t *testing.T) {
	confirmed := map[int]int{}
	got, err := search(bounds{60_000, searchStep, searchCeiling}, func(rate int, confirming bool) (bool, error) {
		if !confirming {
			return rate <= 100_000, nil
		}
		confirmed[rate]++
		// Above 80,000 every second try fails.
		return rate <= 80_000 || confirmed[rate]%2 == 1, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if got > 80_000 || got < 75_000 || confirmed[got] != confirmations {
		t.Errorf("found %d, confirmed %d times", got, confirmed[got])
	}
}

// One run that a stranger spoilt must not be the peer's limit; an error ends it.
func TestSearchTriesTwice(t *testing.T) {
	runs := 0
	holds := twice(func(rate int, _ bool) (bool, error) {
		runs++
		return rate <= 100_000 && runs%3 != 0, nil
	})
	got, err := search(bounds{60_000, searchStep, searchCeiling}, holds)
	if err != nil || got < 96_000 || got > 100_000 {
		t.Errorf("found %d, %v", got, err)
	}
	broken, tries := errors.New("broken"), 0
	if _, err := twice(func(int, bool) (bool, error) { tries++; return false, broken })(1, false); !errors.Is(err, broken) || tries != 1 {
		t.Errorf("%v after %d tries", err, tries)
	}
}

// The bug: a rate that was not confirmed is lowered to 0.96, and rounded, while a peer was judged
// worse below 1/1.04.
func TestStepBelow(t *testing.T) {
	for rate, want := range map[float64]float64{235_000: 225_500, 176_000: 168_500, 100_000: 96_000} {
		next := 0
		found, err := confirm(int(rate), func(at int, _ bool) (bool, error) {
			if at < int(rate) && next == 0 {
				next = at
			}
			return at < int(rate), nil
		})
		if err != nil || stepBelow(rate) != want || found != next || float64(next) != want {
			t.Errorf("%v: %v, a search finds %d, want %v", rate, stepBelow(rate), next, want)
		}
	}
}
