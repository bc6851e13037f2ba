//go:build linux

package hostile

import (
	"context"
	"fmt"
	"time"

	"srtrelay/bench/live"
	"srtrelay/bench/rig"
)

// allow is what a phase may lose.
type allow uint8

const (
	// nothing: no session, no datagram, no connect.
	nothing allow = iota
	// connects may fail, because a server is away for a while.
	connects
	// datagrams may be lost, and connects may fail, because the relay itself was stopped.
	datagrams
)

// phase runs f and judges what the sessions lost meanwhile.
func (r *run) phase(ctx context.Context, name, what string, may allow, f func(ctx context.Context) error) error {
	r.say.line("%s: %s: %s", r.act, name, what)
	if _, err := r.rig.Settle(ctx); err != nil {
		return err
	}
	drops, err := r.rig.Drops()
	if err != nil {
		return err
	}
	before := r.rig.Callers.Counts()
	r.rig.Callers.Waits()
	r.figures = nil
	watched, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { r.watch(watched, before); close(done) }()
	faultErr := f(ctx)
	var openErr error
	if faultErr == nil {
		openErr = r.rig.AwaitOpen(ctx, reconnectFor)
	}
	stop()
	<-done
	if ctx.Err() != nil {
		return ctx.Err()
	}
	now := row{phase: name, what: what, figures: r.figures}
	if now.losses, err = r.rig.Settle(ctx); err != nil {
		return err
	}
	later, err := r.rig.Drops()
	if err != nil {
		return err
	}
	now.drops = later.Minus(drops)
	now.count(before, r.rig.Callers.Counts())
	now = now.judge(may)
	for _, err := range []error{faultErr, openErr} {
		if err != nil {
			r.say.line("  %v", err)
			now = now.fail(firstLine(err.Error()))
		}
	}
	if r.rig.Relay.Ended() {
		now = now.fail("the relay has ended")
		r.add(now)
		return fmt.Errorf("the relay has ended: %s", r.rig.Relay.Log.Tail())
	}
	r.add(now)
	return nil
}

// watchEvery is the time between two lines of progress.
const watchEvery = 10 * time.Second

// watch prints a line of progress every watchEvery.
func (r *run) watch(ctx context.Context, before live.Counts) {
	begun, last, at := time.Now(), before, time.Now()
	for rig.Pause(ctx, watchEvery) == nil {
		n := r.rig.Callers.Counts()
		seconds := time.Since(at).Seconds()
		r.say.line("  +%2.0f s: %d/%d sessions and %d short ones, %.0f data/s received by callers, %d of theirs lost since the phase began, %d connects, %d failed",
			time.Since(begun).Seconds(), n.Open, n.Wanted, n.Short, float64(n.Received-last.Received)/seconds, n.Lost-before.Lost,
			n.Connected-before.Connected, n.Failed-before.Failed)
		last, at = n, time.Now()
	}
}

func (r *run) add(w row) {
	w.act = r.act
	r.rows = append(r.rows, w)
	if w.verdict == "" {
		w.verdict = held
		r.rows[len(r.rows)-1] = w
	}
	r.failed = r.failed || w.failed
	r.say.row(w)
}
