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

// Scenario is one question that the bench answers.
type Scenario struct {
	ID       string
	Title    string
	run      func(context.Context, *Bench) error
	estimate func(*Bench) time.Duration
}

// Scenarios returns all scenarios, in the order of the report.
func Scenarios() []Scenario {
	return []Scenario{publish, mixed, polling, libsrt, trains, hooks, ceilings, latencies, batchWait, rates, shards, sessions, memory, handshakes}
}

// IDs are the scenarios' names.
func IDs() []string {
	var ids []string
	for _, s := range Scenarios() {
		ids = append(ids, s.ID)
	}
	return ids
}

// chosen returns the scenarios of -only.
func (b *Bench) chosen() []Scenario {
	return slices.DeleteFunc(Scenarios(), func(s Scenario) bool {
		return len(b.opts.Only) > 0 && !slices.Contains(b.opts.Only, s.ID)
	})
}

// window is how long a run of steady traffic is measured.
func (b *Bench) window() time.Duration {
	switch {
	case b.opts.Window > 0:
		return b.opts.Window
	case b.opts.Quick:
		return windowTime / 3
	}
	return windowTime
}

// overhead is what a run takes beside its window: starting, connecting,
// warming up, draining, stopping.
const overhead = warmTime + 1300*time.Millisecond

func (b *Bench) runTime() time.Duration { return b.window() + overhead }

// alternate measures the peers in turn, round by round, so that a drift of the machine
// affects all of them.
func (b *Bench) alternate(ctx context.Context, id string, among []peers.Peer, plan traffic.Plan, shards, rounds int) error {
	for round := 1; round <= rounds; round++ {
		for i := range among {
			// Another peer begins each round, because the first after a pause has an
			// advantage.
			p := among[(i+round-1)%len(among)]
			c := Case{Scenario: id, Peer: p, Plan: plan, Round: round, Shards: shards, Warm: warmTime, Window: b.window()}
			run, err := b.measure(ctx, c)
			if err != nil {
				return err
			}
			b.doc.Runs = append(b.doc.Runs, run)
			b.say.run(run, fmt.Sprintf("round %d/%d", round, rounds))
		}
	}
	report.FillAdded(b.doc.Runs)
	return nil
}

// The load of the first scenarios: what one busy shard carries.
const (
	usualRate     = 60_000
	usualSessions = 100
	mixedSessions = 1000
)

// or returns the operator's figure, or the usual one for 0.
func or(flag, usual int) int {
	if flag > 0 {
		return flag
	}
	return usual
}

var publish = Scenario{
	ID: "publish", Title: "CPU per packet, publishers only, one shard",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, usualRate), Singly: true}
		if err := b.alternate(ctx, "publish", b.peers, plan, 1, b.opts.Rounds); err != nil {
			return err
		}
		b.compareAdded("publish", relay, "nginx", 0.30)
		b.compareAdded("publish", relay, "goproxy", 0.20)
		b.lossless("publish", relay)
		b.judgeCost("publish")
		b.compareAdded("publish", kernelPathAccept, "nginx", acceptOfNginx)
		b.judgeProcess("publish")
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		return time.Duration(b.opts.Rounds*len(b.peers)) * b.runTime()
	},
}

var mixed = Scenario{
	ID: "mixed", Title: "CPU per packet, half of the data towards players, one shard",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, mixedSessions), Rate: or(b.opts.Rate, usualRate), Players: 0.5, Singly: true}
		if err := b.alternate(ctx, "mixed", b.usual(), plan, 1, b.opts.Rounds); err != nil {
			return err
		}
		b.compareAdded("mixed", relay, "nginx", 0.60)
		b.lossless("mixed", relay)
		b.judgeCost("mixed")
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		return time.Duration(b.opts.Rounds*len(b.usual())) * b.runTime()
	},
}
