//go:build linux

package soak

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// The roles of the servers.
const (
	static   = 4                // the relay is told of them
	others   = 4                // these register themselves
	halting  = static           // two whose heartbeats stop and start
	mortal   = static + 2       // two that die and return
	servers  = static + others  // in all
	ttl      = 5 * time.Second  // of registrations, so that stopped heartbeats are late soon
	rulesGap = 10 * time.Second // between two changes of the rules
)

// plan says when which fault is due.
type plan struct {
	nextFault, nextRules time.Duration
	faults, rules        int
	revive               time.Duration // when the dead server returns, 0 for none is dead
	dead                 int
}

// faults injects the faults that are due.
func (r *run) faults(ctx context.Context) error {
	p, now := &r.plan, r.elapsed()
	if now >= p.nextRules {
		p.nextRules += rulesGap
		p.rules++
		if err := r.writeRules(p.rules); err != nil {
			return err
		}
		if p.rules%2 == 0 {
			if err := r.rig.Relay.Signal(syscall.SIGHUP); err != nil {
				return err
			}
		}
	}
	if p.revive > 0 && now >= p.revive {
		p.revive = 0
		if err := r.rig.Revive(ctx, p.dead); err != nil {
			return err
		}
		r.rig.Beat(p.dead, true)
	}
	// None dies shortly before the end: its sessions would not be back.
	if now < p.nextFault || now > r.options.Duration-r.options.cycle()/2 {
		return nil
	}
	p.nextFault += r.options.cycle()
	p.faults++
	// Heartbeats of one stop when those of the other begin again.
	halted := halting + p.faults%2
	r.rig.Beat(halting+(p.faults+1)%2, true)
	r.rig.Beat(halted, false)
	p.dead = mortal + p.faults%2
	p.revive = now + r.options.cycle()/3
	return r.rig.Kill(ctx, p.dead)
}

// rulesFile is the file of the relay's rules.
func (r *run) rulesFile() string { return filepath.Join(r.dir, "rules.yaml") }

// writeRules changes a rule that matches no session.
func (r *run) writeRules(n int) error {
	text := fmt.Sprintf("default: \"#!::r=live/default%d,m=publish\"\naccess:\n  publish:\n    deny: [198.51.100.%d]\n", n, n%256)
	name := r.rulesFile() + ".new"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	if err := os.Rename(name, r.rulesFile()); err != nil {
		return fmt.Errorf("write rules: %w", err)
	}
	return nil
}
