//go:build linux

package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/live"
	"srtrelay/bench/peers"
	"srtrelay/bench/rig"
)

const (
	// rate is data per second of a session, each way: as much as a machine with two
	// cores carries beside the attacks.
	rate = 10
	// churn is short sessions per second, each of shortCount data each way.
	churn      = 20
	shortRate  = 20
	shortCount = 20
	// servers is how many there are, and shards those of the relay.
	servers, shards = 8, 2
	// reconnectFor is how long the sessions of a dead server may take to reconnect.
	reconnectFor = 40 * time.Second
)

// errFailed means that a phase failed; the table says which.
var errFailed = errors.New("hostile: not everything held")

// run is one run. It belongs to one goroutine.
type run struct {
	options Options
	say     *progress
	lab     *lab.Lab
	rig     *rig.Rig
	dir     string // of the act
	rng     *rand.Rand
	act     string
	rows    []row
	figures []string // of the phase
	failed  bool
}

// Run runs the chosen acts and prints a table of their results.
func Run(ctx context.Context, o Options, out io.Writer) error {
	acts, err := o.acts()
	if err != nil {
		return fmt.Errorf("hostile: %w", err)
	}
	o.Seed = rig.Seed(o.Seed)
	o.Relay = peers.Local(o.Relay)
	r := &run{options: o, say: newProgress(out), rng: rand.New(rand.NewPCG(o.Seed, 2))}
	r.say.line("hostile: seed %d, %d sessions, %d hostile datagrams, acts %s", o.Seed, o.Sessions, o.Datagrams, strings.Join(acts, ", "))
	for _, name := range acts {
		r.act = name
		if err := r.play(ctx, name); err != nil {
			r.add(row{phase: "act", what: "not finished: " + firstLine(err.Error())}.fail("error"))
			r.say.line("%v", err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	r.say.table(r.rows)
	if err := r.write(); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("hostile: %w", ctx.Err())
	}
	if r.failed {
		return errFailed
	}
	return nil
}

// play runs one act.
func (r *run) play(ctx context.Context, name string) error {
	return rig.InLab("hostile", func(l *lab.Lab, dir string) error {
		r.lab, r.dir = l, dir
		if err := l.Callers.SetSysctl("net.ipv4.ip_local_reserved_ports", floodPorts); err != nil {
			return err
		}
		switch name {
		case "single":
			return r.single(ctx)
		case "sentinel":
			return r.sentinel(ctx)
		case "storm":
			return r.storm(ctx)
		case "overload":
			return r.overload(ctx)
		}
		return r.cluster(ctx)
	})
}

// figure notes a figure of the phase.
func (r *run) figure(format string, args ...any) {
	r.figures = append(r.figures, fmt.Sprintf(format, args...))
}

// relayFlags are the flags of every act's relay, with more of this act.
func (r *run) relayFlags(more ...string) []string {
	flags := append([]string{"--shards", fmt.Sprint(shards), "--log-format", "json", "--log-level", "debug"}, more...)
	return append(flags, strings.Fields(r.options.Flags)...)
}

// open starts a relay with this Redis, and connects all sessions.
func (r *run) open(ctx context.Context, redis string) (err error) {
	return r.openWith(ctx, r.relayFlags("--state", "redis", "--redis", redis))
}

// openWith starts a relay with these flags, and connects all sessions.
func (r *run) openWith(ctx context.Context, flags []string) (err error) {
	r.rig, err = rig.Open(ctx, r.lab, rig.Config{
		Relay: r.options.Relay, Flags: flags, Static: servers, Ports: r.options.Sessions, Seed: r.options.Seed,
	})
	if err != nil {
		return err
	}
	r.rig.Callers.Keep(r.options.Sessions, live.Spec{Prefix: "live/s", Rate: rate})
	if err := r.rig.AwaitOpen(ctx, reconnectFor); err != nil {
		return errors.Join(err, r.rig.Close())
	}
	r.churn(true)
	return nil
}

// churn starts short sessions, or stops starting them.
func (r *run) churn(on bool) {
	n := 0.0
	if on {
		n = churn
	}
	r.rig.Callers.Churn(n, live.Spec{Prefix: "live/c", Rate: shortRate, Count: shortCount})
}

// finish ends an act. The relay must hold as little as before it.
func (r *run) finish(ctx context.Context, before rig.Gauges) error {
	// Sessions that attackers opened must be gone before memory is compared.
	after, err := r.rig.Relay.Gauges()
	if err != nil {
		return err
	}
	r.add(flat(before, after))
	losses, books, err := r.rig.Finish(ctx)
	if ctx.Err() != nil {
		return err
	}
	end := row{phase: "end", what: fmt.Sprintf("all sessions end: %d datagrams received, %d fates (%d dropped), %d sessions, %d leases",
		books.Received, books.Fates, books.Dropped, books.Sessions, len(books.NotEmptyBackends)), losses: losses}
	switch {
	case err != nil:
		r.say.line("  %v", err)
		end = end.fail(firstLine(err.Error()))
	case losses.Datagrams()+losses.Duplicated > 0:
		end = end.fail("lost")
	}
	r.add(end)
	return nil
}

const (
	// Growth that is no leak: the shards' batches, which grow under an attack (16 MiB
	// each), two minutes of history, the runtime's arenas, idle connections of the API and to
	// Redis, of which a client keeps ten per CPU. The soak finds leaks.
	moreRSS        = 80 << 20
	moreFDs        = 32
	moreGoroutines = 16
	moreThreads    = 12
)

// flat compares the relay's gauges with the same sessions before and after.
func flat(before, after rig.Gauges) row {
	r := row{phase: "gauges", what: fmt.Sprintf("RSS %d -> %d MiB, descriptors %d -> %d, goroutines %d -> %d, threads %d -> %d",
		before.RSS>>20, after.RSS>>20, before.FDs, after.FDs, before.Goroutines, after.Goroutines, before.Threads, after.Threads)}
	switch {
	case after.RSS > before.RSS+moreRSS:
		return r.fail("memory grew")
	case after.FDs > before.FDs+moreFDs:
		return r.fail("descriptors grew")
	case after.Goroutines > before.Goroutines+moreGoroutines:
		return r.fail("goroutines grew")
	case after.Threads > before.Threads+moreThreads:
		return r.fail("threads grew")
	}
	return r
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
