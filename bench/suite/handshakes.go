//go:build linux

package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

const (
	handshakeRounds = 3
	// dialling is how many callers connect at a time: enough to keep a peer
	// busy, few enough that none waits for long.
	dialling = 256
	// besideFlood is the rate of honest callers during a flood.
	besideFlood = 20
	floodTime   = 10 * time.Second
)

// connectFlags lift the bound on half-open handshakes of one address, because all callers of
// the bench have the same, and the bound on sessions, because each ended one holds its keys
// for a while.
var connectFlags = []string{
	"--max-handshakes-per-source", "4096", "--max-sessions-per-source", "1000000", "--max-sessions-per-subnet", "0",
	"--max-connects-per-source", "0", "--max-connects-per-subnet", "0", "--max-sessions", "500000",
}

var handshakes = Scenario{
	ID: "handshakes", Title: "handshakes per second on one core, and callers beside a flood",
	run: func(ctx context.Context, b *Bench) error {
		plan := traffic.Plan{Mode: traffic.Connects, Sessions: dialling}
		for round := 1; round <= min(b.opts.Rounds, handshakeRounds); round++ {
			for _, p := range b.among("direct", relay, kernelPath, "goproxy") {
				c := Case{Scenario: "handshakes", Peer: p, Plan: plan, Round: round, Shards: 1, Flags: connectFlags, Warm: warmTime, Window: b.window()}
				run, err := b.connects(ctx, c, nil)
				if err != nil {
					return err
				}
				b.doc.Runs = append(b.doc.Runs, run)
				b.say.line("%-11s %-21s round %d: %.0f handshakes/s, %d failed", "handshakes", p.Name(), round, run.PerSecond, run.Failed)
			}
		}
		b.compareHandshakes()
		return b.floods(ctx)
	},
	estimate: func(b *Bench) time.Duration {
		rounds := min(b.opts.Rounds, handshakeRounds) * len(b.among("direct", relay, kernelPath, "goproxy"))
		return time.Duration(rounds)*b.runTime() + time.Duration(len(b.among(relay, kernelPath)))*(floodTime+overhead)
	},
}

// connects measures a load that only connects, with a flood beside it if there is one.
func (b *Bench) connects(ctx context.Context, c Case, flood *traffic.Plan) (run report.Run, err error) {
	r, err := b.begin(ctx, c)
	if err != nil {
		return run, fmt.Errorf("%s, %s: %w", c.Scenario, c.Peer.Name(), err)
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	if flood != nil {
		w, _, err := b.ends.StartLoad(ctx, *flood, r.peer.Targets)
		if err != nil {
			return run, fmt.Errorf("start flood: %w", err)
		}
		defer traffic.Quit(w)
		if _, err := w.Ask(ctx, "start"); err != nil {
			return run, err
		}
	}
	usage, err := b.through(ctx, r, c)
	if err != nil {
		return run, err
	}
	got, err := r.load.Ask(ctx, "stop")
	if err != nil {
		return run, err
	}
	run = c.blank()
	if got.Handshakes.Failed > 0 && r.peer.API != nil {
		b.note("handshakes", fmt.Sprintf("%s, round %d, %s: %d connects failed; the relay refused for %s",
			c.Peer.Name(), c.Round, c.Scenario, got.Handshakes.Failed, refusals(r.peer.API)))
	}
	b.fillCPU(&run, usage)
	run.PerSecond, run.Failed, run.Connect = got.Handshakes.PerSecond, got.Handshakes.Failed, percentiles(got.Handshakes.Connect)
	return run, nil
}

// refusals returns the relay's counts of refused and failed handshakes as text.
func refusals(api *peers.API) string {
	text, err := api.Get("/api/v1/shards")
	if err != nil {
		return firstLine(err.Error())
	}
	return describeRefusals(text)
}

// describeRefusals picks the counters of caps and rejections out of the API's
// answer.
func describeRefusals(text []byte) string {
	var answer struct {
		Data struct {
			Shards []struct {
				Counters map[string]uint64 `json:"counters"`
			} `json:"shards"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &answer); err != nil {
		return "reasons that cannot be read: " + err.Error()
	}
	sum := map[string]uint64{}
	for _, s := range answer.Data.Shards {
		for name, n := range s.Counters {
			if n > 0 && refusal.MatchString(name) {
				sum[name] += n
			}
		}
	}
	return words(sum)
}

// words lists the counters that are not 0.
func words(counters map[string]uint64) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if counters[name] > 0 {
			list = append(list, fmt.Sprintf("%s %d", name, counters[name]))
		}
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}

// refusal matches the names of counters that tell why a caller was refused.
var refusal = regexp.MustCompile(`cap|reject|refus|limit|port|timeout`)

func (b *Bench) compareHandshakes() {
	per := func(peer string) report.Spread {
		return report.Over(b.doc.Runs, of("handshakes", peer), func(r report.Run) float64 { return r.PerSecond })
	}
	ours, theirs := per(relay), per("goproxy")
	const text, limit = "handshakes per second of srtrelay / goproxy", 10
	if ours.N == 0 || theirs.N == 0 || theirs.Median == 0 {
		b.missing("handshakes", text, ">=", limit, "both must take part")
		return
	}
	b.verdict(report.AtLeast("handshakes", text, ours.Median/theirs.Median, limit))
	if direct := per("direct"); direct.N > 0 {
		b.note("handshakes", fmt.Sprintf("the load and the sinks alone, which share a CPU, manage %.0f handshakes/s on the direct path", direct.Median))
	}
}

// floods lets honest callers connect while forged conclusions come as fast as
// they can be sent.
func (b *Bench) floods(ctx context.Context) error {
	flood := traffic.Plan{Mode: traffic.Flood, Sessions: 1}
	window := floodTime
	if b.opts.Quick {
		window = floodTime / 3
	}
	for _, p := range b.among(relay, kernelPath) {
		plan := traffic.Plan{Mode: traffic.Connects, Sessions: dialling, Rate: besideFlood}
		run, err := b.connects(ctx, Case{Scenario: "flood", Peer: p, Plan: plan, Round: 1, Shards: 1, Warm: warmTime, Window: window}, &flood)
		if err != nil {
			return err
		}
		b.doc.Runs = append(b.doc.Runs, run)
		b.say.line("%-11s %-21s %.1f connects/s beside the flood, %d failed, p99 %.0f us", "flood", p.Name(), run.PerSecond, run.Failed, run.Connect.P99)
		if r, isRelay := p.(peers.Relay); isRelay && r.Label == relay {
			b.verdict(report.AtMost("handshakes", "failed connects beside a flood of forged conclusions", float64(run.Failed), 0))
		}
	}
	return nil
}
