//go:build linux

package suite

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

// shardSteps are the numbers of shards, and quickShardSteps those of a quick bench.
var (
	shardSteps      = []int{1, 2, 8, 32, 128}
	quickShardSteps = []int{1, 128}
)

const (
	mostShardRounds = 3
	// settledTime is how long after a start garbage collections are frequent. They stop
	// all loops, for long if many share a CPU.
	settledTime = 15 * time.Second
)

var shards = Scenario{
	ID: "shards", Title: "highest rate and cost against the number of shards, one core",
	run: func(ctx context.Context, b *Bench) error {
		if err := b.costByShards(ctx); err != nil {
			return err
		}
		if err := b.ceilingByShards(ctx); err != nil {
			return err
		}
		return b.waits(ctx)
	},
	estimate: func(b *Bench) time.Duration {
		runs := b.shardRounds() * (1 + len(b.among(relay, kernelPath))*len(b.shardSteps()))
		return time.Duration(runs)*b.runTime() + time.Duration(1+b.shardRounds()*len(b.shardSteps()))*b.searchTime() + settledTime + 15*time.Second
	},
}

func (b *Bench) shardSteps() []int {
	if b.opts.Quick {
		return quickShardSteps
	}
	return shardSteps
}

// costByShards runs the usual load; the direct path once per round.
func (b *Bench) costByShards(ctx context.Context) error {
	plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, usualRate)}
	for round := 1; round <= b.shardRounds(); round++ {
		for _, p := range b.among("direct", relay, kernelPath) {
			steps := b.shardSteps()
			if p.Name() == "direct" {
				steps = []int{0}
			}
			for _, n := range steps {
				c := Case{Scenario: "shards", Peer: p, Plan: plan, Round: round, Shards: n, Warm: warmTime, Window: b.window()}
				run, err := b.measure(ctx, c)
				if err != nil {
					return err
				}
				b.doc.Runs = append(b.doc.Runs, run)
				b.say.run(run, fmt.Sprintf("%d shards", n))
			}
		}
	}
	report.FillAdded(b.doc.Runs)
	return nil
}

func (b *Bench) ceilingByShards(ctx context.Context) error {
	for _, p := range b.among("direct") {
		if _, err := b.ceilingOf(ctx, p); err != nil { // no shards do more
			return err
		}
	}
	for _, p := range b.among(relay) {
		found := map[int][]float64{}
		for round := 1; round <= b.shardRounds(); round++ {
			if err := b.searchShards(ctx, p, round, found); err != nil {
				return err
			}
		}
		if p.Name() == relay {
			b.compareShards(found)
		}
	}
	return nil
}

// searchShards searches once with each number of shards and adds what it finds
// to found. From the second round on it begins near that.
func (b *Bench) searchShards(ctx context.Context, p peers.Peer, round int, found map[int][]float64) error {
	plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions)}
	guess, step := usualRate, searchStep
	for _, n := range b.shardSteps() {
		if len(found[n]) > 0 {
			guess, step = int(report.SpreadOf(found[n]).Median), nearStep
		}
		c, err := b.climb(ctx, Case{Scenario: "shards-ceiling", Peer: p, Plan: plan, Round: round, Shards: n}, max(searchFloor, guess), step)
		if err != nil {
			return err
		}
		b.say.line("%-11s %-21s round %d, %d shards: %d/s without loss", "shards", p.Name(), round, n, c.rate)
		found[n] = append(found[n], float64(c.rate))
		guess = c.rate
	}
	return nil
}

// compareShards compares the medians of the searches.
func (b *Bench) compareShards(found map[int][]float64) {
	lowest, highest := math.Inf(1), 0.0
	for _, rates := range found {
		median := report.SpreadOf(rates).Median
		lowest, highest = min(lowest, median), max(highest, median)
	}
	if highest > 0 {
		b.verdict(report.AtLeast("shards", "lowest / highest lossless rate as shards go 1 to 128, medians", lowest/highest, 0.85))
	}
}

// shardRounds is how often all numbers of shards are measured and their rates
// searched: one search alone is off by a tenth on a CPU that load and sinks
// share.
func (b *Bench) shardRounds() int { return min(b.opts.Rounds, mostShardRounds) }

// waits looks for waiting on locks while the relay with most shards is busy.
func (b *Bench) waits(ctx context.Context) (err error) {
	relays := b.among(relay)
	if len(relays) == 0 {
		return nil
	}
	plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, usualRate)}
	c := Case{Scenario: "shards", Peer: relays[0], Plan: plan, Shards: shardSteps[len(shardSteps)-1]}
	r, err := b.begin(ctx, c)
	if err != nil {
		return err
	}
	defer func() {
		if stop := r.stop(); err == nil {
			err = stop
		}
	}()
	if err := traffic.Start(ctx, r.sink, r.load); err != nil {
		return err
	}
	if err := pause(ctx, settledTime); err != nil {
		return err
	}
	shares, err := lockShares(ctx, r.peer.PIDs[0], b.dir)
	if err != nil {
		b.note("shards", "no perf profile: "+firstLine(err.Error()))
	} else {
		b.note("shards", fmt.Sprintf("perf, %d shards at %d/s: futex %.2f %%, other locks %.2f %% of the relay's samples", c.Shards, plan.Rate, shares.futex, shares.other))
	}
	return b.keepProfiles(r)
}

// keepProfiles saves the relay's own view of waiting beside the report, and
// demands that no shard's loop waits.
func (b *Bench) keepProfiles(r *running) error {
	if err := os.MkdirAll(b.opts.Out, 0o755); err != nil {
		return fmt.Errorf("keep profiles: %w", err)
	}
	var loops time.Duration
	for _, kind := range []string{"mutex", "block"} {
		raw, err := r.peer.API.Get("/debug/pprof/" + kind + "?seconds=" + profileSeconds)
		if err != nil {
			return err
		}
		name := kind + ".pb.gz"
		if err := os.WriteFile(filepath.Join(b.opts.Out, name), raw, 0o644); err != nil {
			return fmt.Errorf("keep profiles: %w", err)
		}
		w, err := parseWaiting(raw)
		if err != nil {
			return fmt.Errorf("%s profile: %w", kind, err)
		}
		loops += w.loops
		b.note("shards", fmt.Sprintf("%s profile of %s s: waited %v, of this the shards' loops %v; see %s", kind, profileSeconds, w.all, w.loops, name))
	}
	b.verdict(report.AtMost("shards", "time that the shards' loops and others waited for each other at locks, us", float64(loops.Microseconds()), mostWaiting))
	return nil
}

// mostWaiting is how long, in microseconds, all loops together may wait for locks in the time
// of a profile: handing a task over takes one, once a second.
const mostWaiting = 1000
