//go:build linux

package suite

import (
	"context"
	"strings"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

// batchWaits are the settings of --batch-wait that are compared, and quickBatchWaits those of a
// quick bench.
var (
	batchWaits = []time.Duration{
		0, 100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2 * time.Millisecond,
	}
	quickBatchWaits = []time.Duration{0, 250 * time.Microsecond, 2 * time.Millisecond}
)

// batchWaitPeers are the direct path and the relay in user space with each setting.
func (b *Bench) batchWaitPeers() []peers.Peer {
	waits := batchWaits
	if b.opts.Quick {
		waits = quickBatchWaits
	}
	among := b.among("direct")
	for _, wait := range waits {
		text := strings.ReplaceAll(wait.String(), "µ", "u")
		r := peers.UserSpace("--batch-wait "+text, b.opts.Binary)
		r.Flags = []string{"--batch-wait=" + text}
		among = append(among, r)
	}
	return among
}

// batchWaitPlans are the loads, by the scenario that a run with each belongs to.
func (b *Bench) batchWaitPlans() map[string]traffic.Plan {
	steady := traffic.Plan{Mode: traffic.Steady, Sessions: or(b.opts.Sessions, usualSessions), Rate: or(b.opts.Rate, usualRate)}
	sleeping := steady
	sleeping.Singly = true
	return map[string]traffic.Plan{
		report.BatchWaitSleeping: sleeping, report.BatchWaitPolling: steady, report.BatchWaitLibsrt: b.libsrtPlan(),
	}
}

var batchWait = Scenario{
	ID: "batch-wait", Title: "cost and latency in user space against --batch-wait, by kind of backend",
	run: func(ctx context.Context, b *Bench) error {
		if len(b.among(relay)) == 0 {
			return nil
		}
		plans := b.batchWaitPlans()
		for _, scenario := range report.BatchWaits {
			if plans[scenario].Libsrt && !b.buildOrigin(ctx, "batch-wait") {
				continue
			}
			if err := b.alternate(ctx, scenario, b.batchWaitPeers(), plans[scenario], 1, b.opts.Rounds); err != nil {
				return err
			}
		}
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		if len(b.among(relay)) == 0 {
			return 0
		}
		return time.Duration(len(report.BatchWaits)*b.opts.Rounds*len(b.batchWaitPeers())) * b.runTime()
	},
}
