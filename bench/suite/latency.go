//go:build linux

package suite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

// prompt is the relay with the lowest latency: it forwards a datagram at once, where by
// default some gather under load.
const prompt = "prompt"

// latencyPeers returns the chosen peers and prompt.
func (b *Bench) latencyPeers() []peers.Peer {
	among := b.among("direct", relay, kernelPath, "nft", "nginx")
	for i, p := range among {
		if r, ok := p.(peers.Relay); ok && r.Label == relay {
			r.Label, r.Flags = prompt, append(slices.Clone(r.Flags), "--batch-wait=0s")
			return slices.Insert(among, i+1, peers.Peer(r))
		}
	}
	return among
}

var latencies = Scenario{
	ID: "latency", Title: "one-way latency at half of the highest rates",
	run: func(ctx context.Context, b *Bench) error {
		among := b.latencyPeers()
		seen := map[int]bool{}
		for _, p := range b.among(relay, "nginx") {
			if r, variant := p.(peers.Relay); variant && r.Label != relay {
				continue
			}
			c, err := b.ceilingOf(ctx, p)
			if err != nil {
				return err
			}
			rate := roundRate(float64(c.rate) / 2)
			if rate == 0 || seen[rate] {
				continue
			}
			seen[rate] = true
			// A datagram that shares a call with others waits for those before it.
			plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: rate, Batch: 1}
			if err := b.alternate(ctx, "latency", among, plan, 1, b.opts.Rounds); err != nil {
				return err
			}
			for _, ours := range []string{relay, prompt} {
				b.compareLatency(ours, rate, "half of "+p.Name()+"'s highest rate")
			}
			b.judgeLatency(rate)
		}
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		total := time.Duration(2*b.opts.Rounds*len(b.latencyPeers())) * b.runTime()
		if len(b.opts.Only) > 0 && !slices.Contains(b.opts.Only, "ceiling") {
			total += 2 * b.searchTime()
		}
		return total
	},
}

// compareLatency holds a relay's added percentiles against nginx's.
func (b *Bench) compareLatency(who string, rate int, where string) {
	added := func(peer string, figure func(report.Percentiles) float64) report.Spread {
		s, base := b.latency("latency", peer, rate, figure), b.latency("latency", "direct", rate, figure)
		s.Median -= base.Median
		s.N = min(s.N, base.N)
		return s
	}
	for _, p := range []struct {
		name   string
		figure func(report.Percentiles) float64
		limit  bool
	}{
		{"p50", func(p report.Percentiles) float64 { return p.P50 }, true},
		{"p99", func(p report.Percentiles) float64 { return p.P99 }, true},
		{"p99.9", func(p report.Percentiles) float64 { return p.P999 }, false},
	} {
		ours, theirs := added(who, p.figure), added("nginx", p.figure)
		text := fmt.Sprintf("added latency %s of %s in us at %d/s (%s); limit: nginx's", p.name, who, rate, where)
		switch {
		case ours.N == 0 || theirs.N == 0:
			b.missing("latency", text, "<=", 0, "srtrelay, nginx and the direct path must take part")
		case p.limit:
			b.verdict(report.AtMost("latency", text, ours.Median, theirs.Median))
		default:
			b.note("latency", fmt.Sprintf("added latency p99.9 at %d/s: %s %.0f us, nginx %.0f us", rate, who, ours.Median, theirs.Median))
		}
	}
}
