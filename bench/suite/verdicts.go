//go:build linux

package suite

import (
	"fmt"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
)

// The peers that the verdicts are about. The relay's variants are in the tables only.
const (
	relay            = "srtrelay" // in user space
	kernelPath       = peers.KernelPathName
	kernelPathAccept = peers.KernelPathAcceptName
)

// of chooses the results of a scenario's peer.
func of(scenario, peer string) func(report.Run) bool {
	return func(r report.Run) bool { return r.Scenario == scenario && r.Peer == peer && !r.Trial }
}

// added is the spread of a peer's added cost.
func (b *Bench) added(scenario, peer string) report.Spread {
	chosen := of(scenario, peer)
	return report.Over(b.doc.Runs, func(r report.Run) bool { return chosen(r) && r.HasAdded },
		func(r report.Run) float64 { return r.AddedMicros })
}

// compareAdded compares a relay's added cost with another peer's.
func (b *Bench) compareAdded(scenario, who, other string, limit float64) {
	ours, theirs := b.added(scenario, who), b.added(scenario, other)
	text := fmt.Sprintf("added CPU per packet of %s / %s", who, other)
	if ours.N == 0 || theirs.N == 0 {
		b.missing(scenario, text, "<=", limit, "both and the direct path must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, ours.Median/theirs.Median, limit))
}

// lossless requires that a relay has lost nothing in any round.
func (b *Bench) lossless(scenario, who string) {
	lost := report.Over(b.doc.Runs, of(scenario, who), func(r report.Run) float64 { return float64(r.Lost) })
	text := fmt.Sprintf("datagrams lost by %s, worst round", who)
	if lost.N == 0 {
		b.missing(scenario, text, "<=", 0, who+" must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, lost.Max, 0))
}

func (b *Bench) missing(scenario, text, sign string, limit float64, why string) {
	b.verdict(report.Verdict{Scenario: scenario, Text: text, Sign: sign, Limit: limit, Missing: why})
}
