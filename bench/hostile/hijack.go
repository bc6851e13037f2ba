//go:build linux

package hostile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"srtrelay/bench/live"
	"srtrelay/bench/rig"
	"srtrelay/internal/srttest"
)

const (
	// hijackRate is forged datagrams per second.
	hijackRate = 40_000
	// reflectionMost is how many bytes a relay sends at most to an address for each that came
	// from there.
	reflectionMost = 3
	// lookEvery is how often attackers look at what the sessions send.
	lookEvery = 100 * time.Millisecond
)

// hijack forges datagrams of the running sessions that are plausible in everything but their
// source address. The attackers see all that sessions send, but do not answer what the relay
// sends to them.
func (r *run) hijack(ctx context.Context) error {
	a, err := r.openAttacker(ctx)
	defer a.close()
	if err != nil {
		return err
	}
	before, err := r.load()
	if err != nil {
		return err
	}
	forge := srttest.NewFuzzer(r.options.Seed+1, longest)
	front := &unix.SockaddrInet4{Port: int(rig.Front.Port()), Addr: rigAddr.As4()}
	tick := time.NewTicker(attackTick)
	defer tick.Stop()
	var victims []live.Pair
	var looked time.Time
	sent, sentBytes, back, backBytes := 0, 0, 0, 0
	begun := time.Now()
	for sent < r.options.Datagrams {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if time.Since(looked) > lookEvery {
			victims, looked = r.rig.Callers.Pairs(), time.Now()
		}
		due := min(int(time.Since(begun).Seconds()*hijackRate), sent+512, r.options.Datagrams)
		for ; sent < due && len(victims) > 0; sent++ {
			b := forge.Hijack(targetOf(victims[forge.IntN(len(victims))]))
			if unix.Sendto(a.front[forge.IntN(len(a.front))], b, 0, front) == nil {
				sentBytes += len(b)
			}
		}
		n, bytes := a.answers()
		back, backBytes = back+n, backBytes+bytes
	}
	after, err := r.load()
	if err != nil {
		return err
	}
	moved, challenges := after.books.Migrations-before.books.Migrations, after.books.Challenges-before.books.Challenges
	r.figure("%d forged datagrams, %d challenges, %d sessions moved", sent, challenges, moved)
	r.figure("reflection: %d datagrams with %d bytes for %d bytes, a factor of %.5f", back, backBytes, sentBytes, float64(backBytes)/float64(max(sentBytes, 1)))
	r.figure("%s", after.since(before))
	switch {
	case moved > 0:
		return fmt.Errorf("%d sessions moved to an attacker", moved)
	case backBytes >= reflectionMost*sentBytes:
		return fmt.Errorf("the relay reflects %d bytes for %d", backBytes, sentBytes)
	}
	return nil
}

// targetOf is what is known of a session.
func targetOf(p live.Pair) srttest.Target {
	return srttest.Target{ID: p.Server, Sequence: p.Sequence, ACKed: p.Received, Timestamp: p.Timestamp}
}

// answers reads away what came to the attackers' addresses towards the listener, and counts it.
func (a *attacker) answers() (datagrams, bytes int) {
	b := make([]byte, 2048)
	for _, fd := range a.front {
		for {
			n, _, err := unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
			if err != nil {
				break
			}
			datagrams++
			bytes += n
		}
	}
	return datagrams, bytes
}

// waits are figures of how long connects took.
func waits(all []time.Duration) string {
	if len(all) == 0 {
		return "nobody connected"
	}
	slices.Sort(all)
	at := func(part float64) time.Duration {
		return all[min(len(all)-1, int(part*float64(len(all))))].Round(time.Millisecond)
	}
	return fmt.Sprintf("%d connects took p50 %v, p99 %v, at most %v", len(all), at(0.5), at(0.99), at(1))
}
