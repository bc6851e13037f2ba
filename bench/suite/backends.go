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

// pathPeers are the peers that show what a path through this host costs. A quick bench leaves
// out nginx, which only gives the others their scale.
func (b *Bench) pathPeers() []peers.Peer {
	names := []string{"direct", relay, kernelPath, kernelPathAccept, "nft"}
	if !b.opts.Quick {
		names = append(names, "nginx")
	}
	return b.among(names...)
}

// The backends of all other scenarios of cost sleep until a datagram wakes them. Some paths wake
// them more often than others, which is a part of their cost. Backends that poll show the rest.
// They sleep between two looks at their sockets, because a thread that never sleeps takes a whole
// CPU whatever a packet costs.
//
// A packet without a wake-up costs so little that at the usual rate the machine's own noise is more
// than a tenth of it. At much more than this rate the relay in user space loses datagrams.
const pollingRate = 2 * usualRate

var polling = Scenario{
	ID: "polling", Title: "CPU per packet, backends that poll",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, pollingRate)}
		if err := b.alternate(ctx, "polling", b.pathPeers(), plan, 1, b.opts.Rounds); err != nil {
			return err
		}
		b.compareToNFT("polling")
		b.lossless("polling", kernelPath)
		return nil
	},
	estimate: func(b *Bench) time.Duration { return time.Duration(b.opts.Rounds*len(b.pathPeers())) * b.runTime() },
}

// The load of trains.
const (
	trainLength = 16
	// trainRate is four times the usual one: a datagram of a train costs so little that at less
	// the machine's own noise is more than the limit.
	trainRate = 4 * usualRate
	// trainSessions send 63 Mbit/s each at that rate: slower senders have no trains.
	trainSessions = 40
	// trainACKEvery data packets there are in 10 ms at that rate, after which libsrt sends an
	// ACK.
	trainACKEvery = 60
	// trainLimit is what a datagram of a train may cost more than on the direct path, in us.
	trainLimit = 0.3
)

var trains = Scenario{
	ID: "trains", Title: "CPU per packet, publishers that send trains of 16 datagrams",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{
			Mode: traffic.Steady, Sessions: or(b.opts.Sessions, trainSessions), Rate: or(b.opts.Rate, trainRate), Singly: true,
			Train: trainLength, ACKEvery: trainACKEvery,
		}
		if err := b.alternate(ctx, "trains", b.pathPeers(), plan, 1, b.opts.Rounds); err != nil {
			return err
		}
		b.judgeAdded("trains", trainLimit)
		b.lossless("trains", kernelPath)
		return nil
	},
	estimate: func(b *Bench) time.Duration { return time.Duration(b.opts.Rounds*len(b.pathPeers())) * b.runTime() },
}

// judgeAdded limits what a datagram costs more in the kernel path than on the direct path.
func (b *Bench) judgeAdded(scenario string, limit float64) {
	text := fmt.Sprintf("added CPU per packet of %s, us", kernelPath)
	added := b.added(scenario, kernelPath)
	if added.N == 0 {
		b.missing(scenario, text, "<=", limit, kernelPath+" and the direct path must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, added.Median, limit))
}

// hookPeers are the direct path with and without hooks beside it.
func (b *Bench) hookPeers() []peers.Peer {
	if len(b.among(kernelPath)) == 0 {
		return nil
	}
	return append(b.among("direct"), peers.BesideKernelPath(b.opts.Binary))
}

var hooks = Scenario{
	ID: "hooks", Title: "CPU per packet of the direct path beside hooks that carry no session",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, usualRate), Singly: true}
		if err := b.alternate(ctx, "hooks", b.hookPeers(), plan, 1, b.opts.Rounds); err != nil {
			return err
		}
		b.judgeHooks()
		return nil
	},
	estimate: func(b *Bench) time.Duration { return time.Duration(b.opts.Rounds*len(b.hookPeers())) * b.runTime() },
}

// judgeHooks requires that the hooks' cost is not measurable: that it is within what the direct
// path's own rounds differ from their median.
func (b *Bench) judgeHooks() {
	const text = "CPU per packet that idle hooks add, in packets of the direct path; limit: its own noise"
	added := b.added("hooks", peers.BesideName)
	direct := report.Over(b.doc.Runs, of("hooks", "direct"), func(r report.Run) float64 { return r.CostMicros })
	if added.N == 0 || direct.N == 0 {
		b.missing("hooks", text, "<=", leastNoise, kernelPath+" and the direct path must take part")
		return
	}
	b.verdict(report.AtMost("hooks", text, added.Median/direct.Median, noise(direct)/direct.Median))
}
