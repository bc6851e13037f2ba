package report

import (
	"math"
	"slices"
)

// Spread is a median with its extremes.
type Spread struct {
	Median, Min, Max float64
	N                int
}

// SpreadOf sums up values; none make a Spread of NaN.
func SpreadOf(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{math.NaN(), math.NaN(), math.NaN(), 0}
	}
	v := slices.Sorted(slices.Values(values))
	median := v[n/2]
	if n%2 == 0 {
		median = (v[n/2-1] + v[n/2]) / 2
	}
	return Spread{median, v[0], v[n-1], n}
}

// Over sums up one figure of the runs that are chosen.
func Over(runs []Run, chosen func(Run) bool, figure func(Run) float64) Spread {
	var values []float64
	for _, r := range runs {
		if chosen(r) {
			values = append(values, figure(r))
		}
	}
	return SpreadOf(values)
}

// FillAdded computes the added cost of each run against the direct run of the
// same scenario, round, rate and sessions.
func FillAdded(runs []Run) {
	type round struct {
		scenario              string
		round, rate, sessions int
	}
	direct := map[round]float64{}
	key := func(r Run) round { return round{r.Scenario, r.Round, r.Rate, r.Sessions} }
	for _, r := range runs {
		if r.Peer == "direct" && !r.Trial {
			direct[key(r)] = r.CostMicros
		}
	}
	for i, r := range runs {
		if base, ok := direct[key(r)]; ok && r.Peer != "direct" && !r.Trial {
			runs[i].AddedMicros, runs[i].HasAdded = r.CostMicros-base, true
		}
	}
}
