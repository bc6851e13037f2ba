//go:build linux

package suite

import (
	"context"
	"fmt"
	"time"

	"srtrelay/bench/report"
	"srtrelay/bench/srt"
	"srtrelay/bench/traffic"
)

var sessionSteps = []int{100, 1_000, 10_000, 100_000}

const (
	// sessionRounds is enough to compare two small differences.
	sessionRounds = 5
	// connectRate is how many sessions connect per second: below what the
	// slowest peer here manages, so that nobody has to try again.
	connectRate = 8_000
	// quietKeepalive replaces the usual second where sessions are idle.
	quietKeepalive = 3 * time.Second
	// rareKeepalive keeps keepalives few beside data, of which many sessions would send
	// less: the question is what a data packet costs among many sessions.
	rareKeepalive = 30 * time.Second
)

// patientFlags keep sessions whose peers send only every few seconds.
var patientFlags = []string{
	"--max-sessions", "110000", "--idle-timeout", "120s", "--backend-silence", "120s", "--max-handshakes-per-source", "4096", "--max-sessions-per-source", "1000000", "--max-sessions-per-subnet", "0",
	"--max-connects-per-source", "0", "--max-connects-per-subnet", "0",
}

// steps leaves out what takes longest in a quick bench.
func (b *Bench) steps(all []int) []int {
	if b.opts.Quick {
		return all[:len(all)-1]
	}
	return all
}

var sessions = Scenario{
	ID: "sessions", Title: "CPU per packet against the number of sessions, one shard",
	run: func(ctx context.Context, b *Bench) error {
		steps := b.steps(sessionSteps)
		for round := 1; round <= min(b.opts.Rounds, sessionRounds); round++ {
			for _, n := range steps {
				for _, p := range b.among("direct", relay, kernelPath) {
					plan := traffic.Plan{
						Mode: traffic.Steady, Sessions: n, Rate: or(b.opts.Rate, usualRate),
						Keepalive: rareKeepalive, ConnectRate: connectRate,
					}
					c := Case{
						Scenario: "sessions", Peer: p, Plan: plan, Round: round, Shards: 1, Flags: patientFlags,
						Warm: warmTime + allAnswered(plan), Window: b.window(),
					}
					run, err := b.measure(ctx, c)
					if err != nil {
						return err
					}
					b.doc.Runs = append(b.doc.Runs, run)
					b.say.run(run, fmt.Sprintf("round %d", round))
				}
			}
		}
		report.FillAdded(b.doc.Runs)
		for _, who := range []string{relay, kernelPath} {
			b.compareSessions(who, steps[0], steps[len(steps)-1])
		}
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		var total time.Duration
		for _, n := range b.steps(sessionSteps) {
			total += b.runTime() + time.Duration(n)*time.Second/connectRate + allAnswered(traffic.Plan{Sessions: n, Rate: or(b.opts.Rate, usualRate)})
		}
		return total * time.Duration(min(b.opts.Rounds, sessionRounds)*len(b.among("direct", relay, kernelPath)))
	},
}

// allAnswered is how long it takes until every session has had an ACK: the first datagrams of
// a session each way cost more than the others.
func allAnswered(p traffic.Plan) time.Duration {
	return srt.ACKEvery * time.Duration(p.Sessions) * time.Second / time.Duration(p.Rate)
}

func (b *Bench) compareSessions(who string, few, many int) {
	at := func(n int) report.Spread {
		chosen := of("sessions", who)
		return report.Over(b.doc.Runs, func(r report.Run) bool { return chosen(r) && r.Sessions == n && r.HasAdded },
			func(r report.Run) float64 { return r.AddedMicros })
	}
	a, z := at(few), at(many)
	text := fmt.Sprintf("added CPU per packet of %s with %d / with %d sessions", who, many, few)
	if a.N == 0 || z.N == 0 {
		b.missing("sessions", text, "<=", 1.25, who+" and the direct path must take part")
		return
	}
	b.verdict(report.AtMost("sessions", text, z.Median/a.Median, 1.25))
}
