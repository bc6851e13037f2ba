//go:build linux

package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"srtrelay/api/answer"
	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

// Limits of what the kernel path may cost and how late it may be.
const (
	// aboveNFT is what a packet may cost more than with nftables, in packets of
	// the direct path.
	aboveNFT = 0.10
	// ofNginx is how much of nginx's added cost it may have.
	ofNginx       = 0.18
	acceptOfNginx = 0.10
	// processCores is what the relay's own process may use.
	processCores = 0.02
	// aboveDirect is how many us later than on the direct path the median
	// datagram may arrive.
	aboveDirect = 10
)

func isKernelPath(p peers.Peer) bool { return p.Name() == kernelPath || p.Name() == kernelPathAccept }

// tryKernelPath starts each relay with a kernel path once. A relay that does not start takes
// no part, because the kernel, or the relay, may be too old.
func (b *Bench) tryKernelPath(ctx context.Context) error {
	for _, p := range slices.DeleteFunc(slices.Clone(b.peers), func(p peers.Peer) bool { return !isKernelPath(p) }) {
		if err := b.tryPeer(ctx, p); err != nil {
			if ctx.Err() != nil {
				return err
			}
			b.note("machine", p.Name()+" takes no part: "+firstLine(err.Error()))
			b.say.failed(fmt.Errorf("%s takes no part: %w", p.Name(), err))
			b.peers = slices.DeleteFunc(b.peers, func(other peers.Peer) bool { return other.Name() == p.Name() })
		}
	}
	return nil
}

// tryPeer starts a peer before its sinks and stops it.
func (b *Bench) tryPeer(ctx context.Context, p peers.Peer) error {
	c := Case{Peer: p, Plan: traffic.Plan{Mode: traffic.Idle, Sessions: 1}}
	site, err := b.site(c)
	if err != nil {
		return err
	}
	sink, err := b.ends.StartSink(ctx, c.Plan)
	if err != nil {
		return err
	}
	defer traffic.Quit(sink)
	running, err := p.Start(site)
	if err != nil {
		return err
	}
	return running.Stop()
}

// readKernelPath reads how many of a run's sessions the kernel relays. A note names the run if
// they are not all: its figures are then in part those of user space.
func (b *Bench) readKernelPath(r *running, c Case, run *report.Run) error {
	text, err := r.peer.API.Get("/api/v1/shards")
	if err != nil {
		return err
	}
	sessions, left, err := parseKernelPath(text)
	if err != nil {
		return err
	}
	run.InKernel = sessions
	if sessions < uint64(c.Plan.Sessions) {
		b.note(c.Scenario, fmt.Sprintf("%s, round %d: the kernel relayed %d of %d sessions; datagrams left to the shards: %s",
			c.Peer.Name(), c.Round, sessions, c.Plan.Sessions, left))
	}
	return nil
}

// parseKernelPath reads the sessions in the kernel, and in words the datagrams of sessions that
// it has left to the shards, from an answer of the API.
func parseKernelPath(text []byte) (sessions uint64, left string, err error) {
	var a struct {
		Data answer.ShardList `json:"data"`
	}
	if err := json.Unmarshal(text, &a); err != nil {
		return 0, "", fmt.Errorf("read the kernel path's state: %w", err)
	}
	sum := map[string]uint64{}
	for _, device := range a.Data.KernelPath.Devices {
		for reason, n := range device.Up {
			sum[reason] += n
		}
	}
	return a.Data.KernelPath.Sessions, words(sum), nil
}

// judgeCost compares the kernel path's added cost with nftables' and nginx's.
func (b *Bench) judgeCost(scenario string) {
	b.compareToNFT(scenario)
	b.compareAdded(scenario, kernelPath, "nginx", ofNginx)
	b.lossless(scenario, kernelPath)
}

// compareToNFT compares the difference of both added costs with the cost of a packet on the
// direct path. A ratio would say little, because nftables adds close to nothing.
func (b *Bench) compareToNFT(scenario string) {
	text := fmt.Sprintf("added CPU per packet of %s less nft's, in packets of the direct path", kernelPath)
	ours, theirs := b.added(scenario, kernelPath), b.added(scenario, "nft")
	direct := report.Over(b.doc.Runs, of(scenario, "direct"), func(r report.Run) float64 { return r.CostMicros })
	if ours.N == 0 || theirs.N == 0 || direct.N == 0 {
		b.missing(scenario, text, "<=", aboveNFT, "both and the direct path must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, (ours.Median-theirs.Median)/direct.Median, aboveNFT))
}

// judgeProcess limits what the relay's own process uses.
func (b *Bench) judgeProcess(scenario string) {
	text := fmt.Sprintf("CPUs used by the process of %s", kernelPath)
	used := report.Over(b.doc.Runs, of(scenario, kernelPath), func(r report.Run) float64 { return r.PeerCores })
	if used.N == 0 {
		b.missing(scenario, text, "<=", processCores, kernelPath+" must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, used.Median, processCores))
}

// judgeLatency compares the kernel path's median with the direct path's, and its p99 with
// nftables'.
func (b *Bench) judgeLatency(rate int) {
	at := func(peer string, figure func(report.Percentiles) float64) report.Spread {
		return b.latency("latency", peer, rate, figure)
	}
	p50, p99 := func(p report.Percentiles) float64 { return p.P50 }, func(p report.Percentiles) float64 { return p.P99 }
	for _, j := range []struct {
		name, other  string
		ours, theirs report.Spread
		limit        func(report.Spread) float64
	}{
		{"p50", "direct's", at(kernelPath, p50), at("direct", p50), func(report.Spread) float64 { return aboveDirect }},
		{"p99", "nft's; limit: nft's own noise;", at(kernelPath, p99), at("nft", p99), noise},
	} {
		text := fmt.Sprintf("latency %s of %s less %s in us at %d/s", j.name, kernelPath, j.other, rate)
		if j.ours.N == 0 || j.theirs.N == 0 {
			b.missing("latency", text, "<=", 0, "both must take part")
			continue
		}
		b.verdict(report.AtMost("latency", text, j.ours.Median-j.theirs.Median, j.limit(j.theirs)))
	}
}

// leastNoise is the least difference of two runs of one peer, as a share of their figures.
const leastNoise = 0.02

// noise is how far a figure's rounds are from their median: a smaller difference of two medians
// says nothing.
func noise(s report.Spread) float64 {
	return max(s.Max-s.Median, s.Median-s.Min, leastNoise*s.Median)
}

// latency is the spread of one figure of a peer's latency at a rate.
func (b *Bench) latency(scenario, peer string, rate int, figure func(report.Percentiles) float64) report.Spread {
	chosen := of(scenario, peer)
	return report.Over(b.doc.Runs, func(r report.Run) bool { return chosen(r) && r.Rate == rate && r.Latency != nil },
		func(r report.Run) float64 { return figure(*r.Latency) })
}
