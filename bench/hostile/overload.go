//go:build linux

package hostile

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"srtrelay/bench/live"
	"srtrelay/bench/rig"
)

const (
	// calmShare is the part of the relay's limit that the sessions which stay take: below
	// every threshold of the overload ladder. crowdShare is what comes on top of it.
	calmShare, crowdShare = 0.55, 0.45
	// ladderOver is how long the ladder may take to reach its last step, or to be left.
	ladderOver = 30 * time.Second
	// lastStep is the number of the ladder's last step.
	lastStep = 4
)

// overload is the act in which a relay reaches its limit of sessions.
func (r *run) overload(ctx context.Context) (err error) {
	perShard := int(float64(r.options.Sessions) / calmShare / shards)
	limit := perShard * shards
	if err := r.openWith(ctx, r.relayFlags("--max-sessions", fmt.Sprint(perShard))); err != nil {
		return err
	}
	defer func() { err = closing(err, r.rig) }()
	if err := r.steps(ctx, []step{{"calm", "nothing", nothing, r.wait(4 * time.Second)}}); err != nil {
		return err
	}
	before, err := r.rig.Relay.Gauges()
	if err != nil {
		return err
	}
	err = r.steps(ctx, []step{{"ladder", fmt.Sprintf("more callers come than the limit of %d sessions", limit), connects, func(ctx context.Context) error {
		return r.ladder(ctx, int(float64(limit)*crowdShare))
	}}})
	if err != nil {
		return err
	}
	return r.finish(ctx, before)
}

// ladder has a crowd come and go, and waits until the relay has entered and left all steps.
func (r *run) ladder(ctx context.Context, crowd int) error {
	counts, begun := r.rig.Callers.Counts(), time.Now()
	r.rig.Callers.Keep(crowd, live.Spec{Prefix: "live/crowd", Rate: rate})
	at := func(step int) func() bool {
		return func() bool {
			now, _, err := r.rig.Relay.Overload()
			return err == nil && now == step
		}
	}
	err := rig.Await(ctx, ladderOver, "the overload ladder's last step is entered", at(lastStep))
	up := time.Since(begun)
	_, readyErr := r.rig.Relay.API.Get("/ready")
	r.rig.Callers.Release(crowd)
	if err != nil {
		return err
	}
	if readyErr == nil {
		return fmt.Errorf("/ready says yes at the last step")
	}
	begun = time.Now()
	if err := rig.Await(ctx, ladderOver, "all steps of the overload ladder are left", at(0)); err != nil {
		return err
	}
	down := time.Since(begun)
	_, entered, err := r.rig.Relay.Overload()
	if err != nil {
		return err
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(entered)) {
		names = append(names, fmt.Sprintf("%s %d", name, entered[name]))
	}
	_, _, codes := r.connects(counts)
	r.figure("the last step was reached after %.1f s, and all were left %.1f s after the crowd; entered: %s; rejected: %s",
		up.Seconds(), down.Seconds(), strings.Join(names, ", "), codes)
	if len(names) != lastStep || slices.Contains(slices.Collect(maps.Values(entered)), 0) {
		return fmt.Errorf("not every step was entered: %s", strings.Join(names, ", "))
	}
	if _, err := r.rig.Relay.API.Get("/ready"); err != nil {
		return fmt.Errorf("/ready behind it: %w", err)
	}
	return nil
}
