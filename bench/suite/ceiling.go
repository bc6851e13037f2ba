//go:build linux

package suite

import (
	"context"
	"fmt"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

const (
	// stepTime is the window of a search's step.
	stepTime = 2 * time.Second
	// fullRate is the share of the planned datagrams that must have been
	// sent: below it the generator was the limit, not the peer.
	fullRate = 0.98
	// stepsPerSearch is what a search takes usually, for the estimate.
	stepsPerSearch = 10
)

// ceiling is a search's result.
type ceiling struct {
	rate int
	last report.Run // the last confirming run
	// byGenerator means that the generator was the limit, not the peer.
	byGenerator bool
}

// climb searches a peer's highest rate without loss, from a guess by a factor. All steps are
// kept as trials, the last confirmation as the result of the case's round.
func (b *Bench) climb(ctx context.Context, c Case, guess int, by float64) (ceiling, error) {
	var found ceiling
	step, round := 0, c.Round
	limitedAt := map[bool]int{} // lowest rate that failed, by whether the generator did
	c.Warm, c.Window = warmTime, b.stepWindow()
	once := func(rate int, confirming bool) (bool, error) {
		step++
		c.Plan.Rate, c.Round, c.Trial = rate, step, true
		run, err := b.measure(ctx, c)
		if err != nil {
			return false, err
		}
		b.doc.Runs = append(b.doc.Runs, run)
		word := "search"
		if confirming {
			word = "confirm"
		}
		b.say.run(run, word)
		short := run.DataPerSec < fullRate*float64(rate)
		if run.Lost == 0 && !short {
			found.last = run
			return true, nil
		}
		generator := run.Lost == 0 && short
		if at := limitedAt[generator]; at == 0 || rate < at {
			limitedAt[generator] = rate
		}
		return false, nil
	}
	most := b.most(c.Peer)
	rate, err := search(bounds{guess, by, most}, twice(once))
	if err != nil {
		return found, err
	}
	found.rate = rate
	found.byGenerator = rate == most || limitedAt[true] > 0 && (limitedAt[false] == 0 || limitedAt[true] <= limitedAt[false])
	if rate > 0 {
		found.last.Trial, found.last.Found, found.last.Round, found.last.Unreached = false, true, round, found.byGenerator
		b.doc.Runs = append(b.doc.Runs, found.last)
	}
	return found, nil
}

// most returns the highest rate to try with a peer: that of the direct path, if it is known.
// Above that the generator is the limit.
func (b *Bench) most(p peers.Peer) int {
	if direct := b.ceilings["direct"].rate; direct > 0 && p.Name() != "direct" {
		return direct
	}
	return searchCeiling
}

func (b *Bench) stepWindow() time.Duration {
	if b.opts.Quick {
		return stepTime / 2
	}
	return stepTime
}

// ceilingOf is a peer's highest rate on its CPU, searched once per bench.
func (b *Bench) ceilingOf(ctx context.Context, p peers.Peer) (ceiling, error) {
	if c, known := b.ceilings[p.Name()]; known {
		return c, nil
	}
	plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions)}
	c, err := b.climb(ctx, Case{Scenario: "ceiling", Peer: p, Plan: plan, Round: 1, Shards: 1}, usualRate, searchStep)
	if err == nil {
		b.ceilings[p.Name()] = c
		b.say.line("%-11s %-21s %d/s without loss", "ceiling", p.Name(), c.rate)
	}
	return c, err
}

var ceilings = Scenario{
	ID: "ceiling", Title: "highest rate without loss, one core",
	run: func(ctx context.Context, b *Bench) error {
		for _, p := range b.usual() {
			c, err := b.ceilingOf(ctx, p)
			if err != nil {
				return err
			}
			if c.byGenerator {
				b.note("ceiling", fmt.Sprintf("%s: above %d/s the load generator or the sinks were the limit, which share a CPU; the peer may be able to do more", p.Name(), c.rate))
			}
		}
		b.compareCeilings("goproxy", 3)
		b.compareCeilings("nginx", 1)
		return b.ceilingsInKernel(ctx)
	},
	estimate: func(b *Bench) time.Duration {
		again := len(b.among(kernelPath, "nft")) * (min(b.opts.Rounds, mostCeilingRounds) - 1)
		return time.Duration(len(b.usual())+again) * b.searchTime()
	},
}

// mostCeilingRounds is how many searches the kernel path and nftables get: one search is off by
// a tenth, and the two are close to each other.
const mostCeilingRounds = 3

// ceilingsInKernel compares the kernel path's highest rate with nftables', by the medians of
// several searches in turn.
func (b *Bench) ceilingsInKernel(ctx context.Context) error {
	found := map[string][]float64{}
	among := b.among(kernelPath, "nft")
	for _, p := range among {
		found[p.Name()] = []float64{float64(b.ceilings[p.Name()].rate)}
	}
	plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions)}
	for round := 2; round <= min(b.opts.Rounds, mostCeilingRounds); round++ {
		for _, p := range among {
			guess := max(searchFloor, int(report.SpreadOf(found[p.Name()]).Median))
			c, err := b.climb(ctx, Case{Scenario: "ceiling", Peer: p, Plan: plan, Round: round, Shards: 1}, guess, nearStep)
			if err != nil {
				return err
			}
			b.say.line("%-11s %-21s round %d: %d/s without loss", "ceiling", p.Name(), round, c.rate)
			found[p.Name()] = append(found[p.Name()], float64(c.rate))
		}
	}
	ours, theirs := report.SpreadOf(found[kernelPath]), report.SpreadOf(found["nft"])
	text := fmt.Sprintf("highest lossless rate of %s / nft, medians", kernelPath)
	if ours.N == 0 || theirs.N == 0 || theirs.Median == 0 {
		b.missing("ceiling", text, ">=", searchDown, "no lossless rate was found for both")
		return nil
	}
	b.verdict(report.AtLeast("ceiling", text, ours.Median/theirs.Median, stepBelow(theirs.Median)/theirs.Median))
	return nil
}

func (b *Bench) searchTime() time.Duration {
	return stepsPerSearch * (b.stepWindow() + overhead)
}

func (b *Bench) compareCeilings(other string, limit float64) {
	ours, theirs := b.ceilings[relay].rate, b.ceilings[other].rate
	text := fmt.Sprintf("highest lossless rate of srtrelay / %s", other)
	if ours == 0 || theirs == 0 {
		b.missing("ceiling", text, ">=", limit, "no lossless rate was found for both")
		return
	}
	b.verdict(report.AtLeast("ceiling", text, float64(ours)/float64(theirs), limit))
}
