//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// failover is what happened around the death of an origin. All times are
// those since the kill.
type failover struct {
	from, to *program
	killed   time.Time
	told     map[string]time.Duration // callers by role: SHUTDOWN is sent
	begun    map[string]time.Duration // likewise: the new session
	atOrigin <-chan time.Duration     // the first media that the new origin hands out
	atPlayer <-chan time.Duration     // likewise the new player
}

// hangs is far beyond the time in which a caller hears of its origin's death.
const hangs = 2 * time.Second

// failOver kills the origin of a stream, and starts the stream's publisher and
// player again as soon as each has learnt of it.
func (d *demo) failOver(s *stream) error {
	f := &d.failure
	e, err := d.relay.awaitNth(d.ctx, 1, "session begun: "+s.name, func(e event) bool { return e.is("session begun", "role", "publisher") && s.is(e) })
	if err != nil {
		return err
	}
	f.from = d.origin(e.text("backend"))
	f.told, f.begun = map[string]time.Duration{}, map[string]time.Duration{}
	s.hit.Store(true)
	for _, c := range s.copies {
		c.part = head
	}
	for _, p := range []*program{f.from, s.publisher.Load(), s.player} {
		p.gone = true
	}
	d.say("kill -9 %s, which has %s", f.from.name, s.name)
	f.killed = time.Now()
	if err := f.from.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("kill %s: %w", f.from.name, err)
	}
	again := make(chan error, 1)
	go func() { again <- s.ended(d.ctx, s.player) }()
	if err := errors.Join(s.ended(d.ctx, s.publisher.Load()), <-again); err != nil {
		return err
	}
	return d.goOn(s)
}

// ended waits until a caller has ended after its SHUTDOWN.
func (s *stream) ended(ctx context.Context, p *program) error {
	select {
	case <-p.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(hangs):
		return fmt.Errorf("the %s does not notice that its origin is gone", p.name)
	}
}

// goOn connects publisher and player again and notes when everything happened.
func (d *demo) goOn(s *stream) error {
	f := &d.failure
	for _, role := range []string{"player", "publisher"} {
		if err := d.startCaller(s, role); err != nil {
			return err
		}
	}
	atPlayer := s.copies[len(s.copies)-1]
	atPlayer.part = tail
	roles := []string{"publisher", "player"}
	for _, role := range roles {
		e, err := d.relay.awaitNth(d.ctx, 1, "session ended: "+role+" of "+s.name, func(e event) bool {
			return e.is("session ended", "role", role) && s.is(e)
		})
		if err != nil {
			return err
		}
		if cause := e.text("cause"); cause != "backend lost" {
			return fmt.Errorf("the session of the %s of %s ended by %q, want backend lost", role, s.name, cause)
		}
		f.told[role] = e.at().Sub(f.killed)
		d.say("  %s   the relay tells the %s: backend lost", ms(f.told[role]), role)
	}
	for _, role := range roles {
		o, e, err := d.settled(s, role, 2)
		if err != nil {
			return err
		}
		if f.to != nil && o != f.to || o == f.from {
			return fmt.Errorf("the %s of %s went to %s", role, s.name, o.name)
		}
		f.to, f.begun[role] = o, e.at().Sub(f.killed)
		d.say("  %s   the %s is connected again, at %s", ms(f.begun[role]), role, o.name)
	}
	path := d.fileAt(f.to, s)
	s.keep(f.to.name, path, tail)
	f.atOrigin, f.atPlayer = d.filling(path), d.filling(atPlayer.path)
	return nil
}

// filling tells when a file has got its first bytes, which has no event.
func (d *demo) filling(path string) <-chan time.Duration {
	filled := make(chan time.Duration, 1)
	go func() {
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for d.ctx.Err() == nil {
			if st, err := os.Stat(path); err == nil && st.Size() > 0 {
				filled <- time.Since(d.failure.killed)
				return
			}
			<-tick.C
		}
	}()
	return filled
}

// gap tells what the death of the origin has cost.
func (d *demo) gap() {
	f, s := &d.failure, d.streams[0]
	fmt.Printf("%s was killed %.1f s after the start; since then:\n", f.from.name, f.killed.Sub(d.begun).Seconds())
	for _, line := range []struct {
		at   time.Duration
		what string
	}{
		{max(f.told["publisher"], f.told["player"]), "both callers of " + s.name + " have been told by SHUTDOWN (cause: backend lost)"},
		{f.begun["publisher"], "the publisher is connected again and sends to " + f.to.name},
		{f.begun["player"], "the player is connected again, to " + f.to.name},
		{<-f.atOrigin, "the first media is delivered at " + f.to.name + ", " + latency + " ms of this being SRT's latency"},
		{<-f.atPlayer, "the first media is delivered at the player, SRT's latency passed twice"},
	} {
		fmt.Printf("  %s   %s\n", ms(line.at), line.what)
	}
}

// ms is a time since the kill for people.
func ms(t time.Duration) string { return fmt.Sprintf("+%5d ms", t.Milliseconds()) }
