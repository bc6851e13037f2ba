//go:build linux

package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/live"
	"srtrelay/bench/peers"
	"srtrelay/bench/rig"
)

const (
	// rate is data per second of a stream, each way.
	rate = 10
	// A short session lasts about a second and carries shortCount data each way.
	shortRate, shortCount = 10, 10
	// ports is how many ports the callers share: fewer than sessions, as behind a
	// carrier-grade NAT.
	ports = 256
	// connectFor is how long all streams may take to connect at the beginning.
	connectFor = 60 * time.Second
	// step is the time between two checks for what is due.
	step = 200 * time.Millisecond
)

// errFailed means that a verdict failed.
var errFailed = errors.New("soak: not everything held")

// run is one run. It belongs to one goroutine.
type run struct {
	options Options
	out     io.Writer
	dir     string
	rig     *rig.Rig
	readers *readers
	begun   time.Time
	plan    plan
	drops   rig.Drops // at the beginning
	last    Sample
	counts  live.Counts // at the last sample
	doc     Document
}

// elapsed is the time since all streams were connected.
func (r *run) elapsed() time.Duration { return time.Since(r.begun) }

// Run makes a run and writes its report, also of one that was interrupted.
func Run(ctx context.Context, o Options, out io.Writer) error {
	if err := o.check(); err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	o.Seed = rig.Seed(o.Seed)
	o.Relay = peers.Local(o.Relay)
	r := &run{options: o, out: out, doc: Document{Seed: o.Seed}}
	fmt.Fprintf(out, "soak: seed %d, %v, %d streams, %g connects a second\n", o.Seed, o.Duration, o.Streams, o.Connects)
	return rig.InLab("soak", func(l *lab.Lab, dir string) error {
		r.dir = dir
		if err := r.open(ctx, l); err != nil {
			return fmt.Errorf("soak: %w", err)
		}
		lived := r.live(ctx)
		ended := r.end(ctx, lived)
		return r.report(errors.Join(lived, ended))
	})
}

// open starts everything, and connects the streams.
func (r *run) open(ctx context.Context, l *lab.Lab) (err error) {
	if err := r.writeRules(0); err != nil {
		return err
	}
	flags := append([]string{
		"--shards", "2", "--rules", r.rulesFile(), "--backend-ttl", ttl.String(), "--metrics-streams", "100",
		"--log-format", "json", "--log-level", "info",
	}, strings.Fields(r.options.Flags)...)
	r.rig, err = rig.Open(ctx, l, rig.Config{
		Relay: r.options.Relay, Flags: flags, Static: static, Others: others, Ports: ports, Seed: r.options.Seed,
	})
	if err != nil {
		return err
	}
	r.doc.Args = r.rig.Relay.Args
	for n := static; n < servers; n++ {
		r.rig.Beat(n, true)
	}
	r.rig.Callers.Keep(r.options.Streams, live.Spec{Prefix: "live/s", Rate: rate})
	if err := r.rig.AwaitOpen(ctx, connectFor); err != nil {
		return errors.Join(err, r.rig.Close())
	}
	if r.drops, err = r.rig.Drops(); err != nil {
		return errors.Join(err, r.rig.Close())
	}
	return nil
}

// live runs the measured time.
func (r *run) live(ctx context.Context) error {
	r.begun = time.Now()
	r.plan = plan{nextFault: r.options.cycle() / 2, nextRules: rulesGap}
	r.counts = r.rig.Callers.Counts()
	r.readers = startReaders(ctx, r.rig.Relay.API)
	r.rig.Callers.Churn(r.options.Connects, live.Spec{Prefix: "live/c", Rate: shortRate, Count: shortCount})
	next := r.options.sampleEvery()
	for r.elapsed() < r.options.Duration {
		if err := rig.Pause(ctx, step); err != nil {
			return err
		}
		if r.rig.Relay.Ended() {
			return fmt.Errorf("the relay has ended: %s", r.rig.Relay.Log.Tail())
		}
		if err := r.faults(ctx); err != nil {
			return err
		}
		if r.elapsed() < next {
			continue
		}
		next += r.options.sampleEvery()
		if err := r.settleAndSample(ctx); err != nil {
			return err
		}
	}
	return nil
}

// settleAndSample settles the accounts, takes a sample and prints it.
func (r *run) settleAndSample(ctx context.Context) error {
	losses, err := r.rig.Settle(ctx)
	if err != nil {
		return err
	}
	r.doc.Losses.Add(losses)
	s, err := r.sample()
	if err != nil {
		return err
	}
	r.last = s
	r.doc.Samples = append(r.doc.Samples, s)
	fmt.Fprintf(r.out, "%6.0f s  %d/%d streams, %d short; %.0f connects/s, %.0f ends/s, %.0f data/s to callers; lost: %d sessions, %d datagrams; "+
		"%d servers, %d sessions of dead ones; %d connects failed; %.1f MiB, %d fds, %d goroutines, %d threads\n",
		s.Seconds, s.Open, r.options.Streams, s.Short, s.Connects, s.Ends, s.Data, s.SessionsLost, s.Lost, s.Servers, s.Excused, s.Failed,
		float64(s.RSS)/(1<<20), s.FDs, s.Goroutines, s.Threads)
	for _, d := range losses.Details {
		fmt.Fprintf(r.out, "          %s\n", d)
	}
	return nil
}

// end ends all traffic, unless the run has failed, and all processes.
func (r *run) end(ctx context.Context, lived error) (err error) {
	r.readers.end()
	r.doc.Seconds = r.elapsed().Seconds()
	if lived == nil {
		var losses rig.Losses
		losses, r.doc.Books, err = r.rig.Finish(ctx)
		r.doc.Losses.Add(losses)
	}
	n := r.rig.Callers.Counts()
	r.doc.Connects, r.doc.Failed, r.doc.Planned, r.doc.Rejected = n.Connected, n.Failed, n.Ended[live.Planned], n.Rejected
	return errors.Join(err, r.rig.Close())
}

// report writes the files and prints the verdicts.
func (r *run) report(err error) error {
	if err != nil {
		r.doc.Error = err.Error()
	}
	t := r.timeline()
	if writeErr := t.Write(r.options.Out, "soak", r.doc); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	failed := false
	for _, v := range t.Verdicts {
		fmt.Fprintf(r.out, "%s  %s: %.4g, must be %s %.4g\n", v.Outcome(), v.Text, v.Value, v.Sign, v.Limit)
		failed = failed || !v.Pass
	}
	fmt.Fprintf(r.out, "report: %s/soak.md, soak.html, soak.json\n", r.options.Out)
	if err != nil {
		return fmt.Errorf("soak: %w", err)
	}
	if failed {
		return errFailed
	}
	return nil
}
