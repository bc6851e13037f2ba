//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// overPatience is how long a take-over may take, its probation included.
const overPatience = 30 * time.Second

// TakeOver has another process of the same program take over from the relay, which needs
// --takeover-socket among its flags. It returns when the first one has ended.
func (r *Rig) TakeOver(ctx context.Context) error {
	before := r.Relay
	next, err := spawn(r.Lab.Origin, before.API, append(slices.Clone(before.command), "--takeover", "require"))
	if err != nil {
		return err
	}
	next.command = before.command
	timer := time.NewTimer(overPatience)
	defer timer.Stop()
	select {
	case <-before.proc.Done:
	case <-next.proc.Done:
		err = fmt.Errorf("the new process has ended: %w\n%s", next.proc.Failure(), next.Log.Tail())
	case <-timer.C:
		err = fmt.Errorf("no take-over within %v:\n%s", overPatience, next.Log.Tail())
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		next.kill()
		return err
	}
	r.Relay = next
	return before.judgeEnd()
}

// Restart stops the relay in order and starts it again, as an operator does who changes a
// setting that needs it. The sessions that are open are excused.
func (r *Rig) Restart(ctx context.Context) error {
	for _, s := range r.Servers {
		report, err := s.ask(ctx, "all")
		if errors.Is(err, errAway) {
			continue
		}
		if err != nil {
			return err
		}
		r.accounts.spare(report.Sessions)
		var l Losses
		r.accounts.fromServer(report, r.clock.Now(), &l)
		r.early.Add(l)
	}
	r.accounts.restarts = append(r.accounts.restarts, fault{from: r.clock.Now()})
	defer func() { r.accounts.restarts[len(r.accounts.restarts)-1].to = r.clock.Now() }()
	before := r.Relay
	before.proc.Stop(10 * time.Second)
	if err := before.judgeEnd(); err != nil {
		return err
	}
	next, err := spawn(r.Lab.Origin, before.API, before.command)
	if err != nil {
		return err
	}
	r.Relay = next
	return next.awaitLive(ctx)
}

// judgeEnd says how the relay ended.
func (r *Relay) judgeEnd() error {
	<-r.proc.Done
	r.Log.Die()
	if code := r.proc.ExitCode(); code != 0 {
		return fmt.Errorf("the relay ended with exit code %d:\n%s", code, r.Log.Tail())
	}
	if bad := r.Log.Bad(); bad != "" {
		return fmt.Errorf("the relay's log says %q:\n%s", bad, r.Log.Tail())
	}
	return nil
}

// awaitLive waits until the relay's API answers.
func (r *Relay) awaitLive(ctx context.Context) error {
	err := r.await(ctx, startPatience, "be ready", func() bool { _, err := r.API.Get("/live"); return err == nil })
	if err != nil {
		r.kill()
	}
	return err
}
