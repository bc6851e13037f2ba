//go:build linux

package suite

import (
	"context"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

// rateSteps are the rates of the plots.
var rateSteps = []int{10_000, 20_000, 40_000, 60_000, 100_000, 150_000, 200_000}

const (
	rateRounds = 2
	// rateTime is shorter than other windows: there are many points.
	rateTime = 2 * time.Second
	// tooMuchLoss is the loss at which a peer's row ends, because the cost per delivered
	// datagram means nothing beyond.
	tooMuchLoss = 0.01
)

var rates = Scenario{
	ID: "rates", Title: "cost and latency against the rate",
	run: func(ctx context.Context, b *Bench) error {
		over := map[string]bool{}
		for _, rate := range rateSteps {
			for round := 1; round <= min(b.opts.Rounds, rateRounds); round++ {
				for _, p := range b.ratePeers() {
					if over[p.Name()] {
						continue
					}
					plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: rate}
					c := Case{Scenario: "rates", Peer: p, Plan: plan, Round: round, Shards: 1, Warm: warmTime, Window: min(rateTime, b.window())}
					run, err := b.measure(ctx, c)
					if err != nil {
						return err
					}
					b.doc.Runs = append(b.doc.Runs, run)
					b.say.run(run, "rates")
					over[p.Name()] = float64(run.Lost) > tooMuchLoss*float64(run.Sent) || run.DataPerSec < fullRate*float64(rate)
				}
			}
		}
		report.FillAdded(b.doc.Runs)
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		// Most peers do not reach the last rates.
		return time.Duration((len(rateSteps)-2)*min(b.opts.Rounds, rateRounds)*len(b.ratePeers())) * (min(rateTime, b.window()) + overhead)
	},
}

// ratePeers are the peers of the plots. A quick bench leaves out the other proxies.
func (b *Bench) ratePeers() []peers.Peer {
	if b.opts.Quick {
		return b.among("direct", relay, kernelPath, "nft")
	}
	return b.usual()
}
