//go:build linux

package suite

import (
	"fmt"

	"srtrelay/bench/report"
)

// relay is the name of the peer that the verdicts are about. Its variants are in the tables
// only.
const relay = "srtrelay"

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

// compareAdded compares the relay's added cost with another peer's.
func (b *Bench) compareAdded(scenario, other string, limit float64) {
	ours, theirs := b.added(scenario, relay), b.added(scenario, other)
	text := fmt.Sprintf("added CPU per packet of srtrelay / %s", other)
	if ours.N == 0 || theirs.N == 0 {
		b.missing(scenario, text, "<=", limit, "both and the direct path must take part")
		return
	}
	b.verdict(report.AtMost(scenario, text, ours.Median/theirs.Median, limit))
}

// lossless demands that the relay has lost nothing in any round.
func (b *Bench) lossless(scenario string) {
	lost := report.Over(b.doc.Runs, of(scenario, relay), func(r report.Run) float64 { return float64(r.Lost) })
	if lost.N == 0 {
		b.missing(scenario, "datagrams lost by srtrelay, worst round", "<=", 0, "srtrelay must take part")
		return
	}
	b.verdict(report.AtMost(scenario, "datagrams lost by srtrelay, worst round", lost.Max, 0))
}

func (b *Bench) missing(scenario, text, sign string, limit float64, why string) {
	b.verdict(report.Verdict{Scenario: scenario, Text: text, Sign: sign, Limit: limit, Missing: why})
}
