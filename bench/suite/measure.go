//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"srtrelay/bench/cpu"
	"srtrelay/bench/lab"
	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/tally"
	"srtrelay/bench/traffic"
)

// Case describes one run.
type Case struct {
	Scenario string
	Peer     peers.Peer
	Plan     traffic.Plan
	Round    int
	Shards   int      // 0: the flags' own
	Flags    []string // more of them for srtrelay
	Warm     time.Duration
	Window   time.Duration
	Trial    bool
}

// running is everything that a case has started.
type running struct {
	sink, load *traffic.Worker
	origins    *traffic.Origins // in place of the sink
	peer       *peers.Running
	connected  tally.Report
}

// stop ends everything that was started.
func (r *running) stop() error {
	traffic.Quit(r.load)
	var err error
	if r.peer != nil {
		err = r.peer.Stop()
	}
	traffic.Quit(r.sink)
	r.origins.Kill()
	return err
}

// site returns the site of the case's peer.
func (b *Bench) site(c Case) (peers.Site, error) {
	dir := filepath.Join(b.dir, c.Peer.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return peers.Site{}, fmt.Errorf("make directory of peer: %w", err)
	}
	s := peers.Site{
		Origin: b.lab.Origin, Backends: b.ends.Backends(b.opts.Backends), Exposed: b.ends.Backends(lab.OriginAddr), CPUs: b.opts.PeerCPUs, Dir: dir,
		Sessions: c.Plan.Sessions, Bench: b.self, Flags: append([]string{}, b.opts.RelayFlags...),
	}
	if c.Shards > 0 {
		s.Flags = append(s.Flags, "--shards", fmt.Sprint(c.Shards))
	}
	s.Flags = append(s.Flags, c.Flags...)
	return s, nil
}

// begin starts sinks, peer and callers, in this order.
func (b *Bench) begin(ctx context.Context, c Case) (r *running, err error) {
	r = &running{}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.stop())
		}
	}()
	site, err := b.site(c)
	if err != nil {
		return r, err
	}
	if c.Plan.Libsrt {
		r.origins, err = b.ends.StartOrigins(ctx, b.origin)
	} else {
		r.sink, err = b.ends.StartSink(ctx, c.Plan)
	}
	if err != nil {
		return r, err
	}
	if r.peer, err = c.Peer.Start(site); err != nil {
		return r, err
	}
	b.seen(c.Peer.Name(), r.peer.Config)
	r.load, r.connected, err = b.ends.StartLoad(ctx, c.Plan, r.peer.Targets)
	return r, err
}

// measure makes one run of steady traffic from the start of the processes to
// their end.
func (b *Bench) measure(ctx context.Context, c Case) (report.Run, error) {
	run, err := b.steady(ctx, c)
	if err != nil {
		return run, fmt.Errorf("%s, %s, %d/s: %w", c.Scenario, c.Peer.Name(), c.Plan.Rate, err)
	}
	return run, nil
}

func (b *Bench) steady(ctx context.Context, c Case) (run report.Run, err error) {
	r, err := b.begin(ctx, c)
	if err != nil {
		return run, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	usage, err := b.through(ctx, r, c)
	if err != nil {
		return run, err
	}
	run = c.blank()
	if isKernelPath(c.Peer) {
		if err := b.readKernelPath(r, c, &run); err != nil {
			return run, err
		}
	}
	atSink, atLoad, err := traffic.Stop(ctx, r.sink, r.load)
	if err != nil {
		return run, err
	}
	if r.origins == nil {
		fillTraffic(&run, atSink, atLoad)
	} else {
		counts, err := r.origins.Stop()
		if err != nil {
			return run, err
		}
		fillOrigins(&run, counts, atLoad)
	}
	b.fillCPU(&run, usage)
	return run, nil
}

// through starts the traffic, warms up, marks the window and reads the CPU over
// it.
func (b *Bench) through(ctx context.Context, r *running, c Case) (cpu.Usage, error) {
	if err := traffic.Start(ctx, r.sink, r.load); err != nil {
		return cpu.Usage{}, err
	}
	if err := pause(ctx, c.Warm); err != nil {
		return cpu.Usage{}, err
	}
	if err := traffic.Mark(ctx, r.sink, r.load); err != nil {
		return cpu.Usage{}, err
	}
	return b.watch(ctx, r, c.Window)
}

// watch reads the CPU over a window.
func (b *Bench) watch(ctx context.Context, r *running, window time.Duration) (cpu.Usage, error) {
	procs := map[string][]int{"peer": r.peer.PIDs, "load": {r.load.PID()}}
	if r.origins != nil {
		procs["sink"] = r.origins.PIDs()
	} else {
		procs["sink"] = []int{r.sink.PID()}
	}
	before, err := cpu.Read(procs)
	if err != nil {
		return cpu.Usage{}, fmt.Errorf("watch: %w", err)
	}
	if err := pause(ctx, window); err != nil {
		return cpu.Usage{}, err
	}
	after, err := cpu.Read(procs)
	if err != nil {
		return cpu.Usage{}, fmt.Errorf("watch: %w", err)
	}
	return cpu.Between(before, after), nil
}

// blank returns the case's run without figures.
func (c Case) blank() report.Run {
	return report.Run{
		Scenario: c.Scenario, Peer: c.Peer.Name(), Round: c.Round, Rate: c.Plan.Rate, Sessions: c.Plan.Sessions,
		Shards: c.Shards, Players: c.Plan.Players, Window: c.Window.Seconds(), Trial: c.Trial,
	}
}

func fillTraffic(run *report.Run, atSink, atLoad tally.Report) {
	run.Sent = atSink.Sent.Data + atLoad.Sent.Data
	got := atSink.Received.Data + atLoad.Received.Data
	// The receivers count gaps. A loss at the end makes none.
	run.Lost = max(atSink.Lost+atLoad.Lost, run.Sent-min(run.Sent, got))
	run.Duplicated = atSink.Duplicated + atLoad.Duplicated
	run.Reordered = atSink.Reordered + atLoad.Reordered
	run.Delivered = atSink.Window.Received.Total() + atLoad.Window.Received.Total()
	if s := atLoad.Window.Seconds; s > 0 {
		run.DataPerSec = float64(atSink.Window.Received.Data+atLoad.Window.Received.Data) / s
	}
	run.Late, run.LagP99 = atLoad.Late, atLoad.Lag.P99
	run.Latency = latency(atSink, atLoad)
}

// fillOrigins takes the traffic from the load and from libsrt's counters. These have no window:
// what the load has sent in it counts as arrived, and Lost says what did not arrive in all.
func fillOrigins(run *report.Run, counts traffic.Counts, atLoad tally.Report) {
	run.Sent = atLoad.Sent.Data
	run.Lost = run.Sent - min(run.Sent, counts.Data)
	w := atLoad.Window
	run.Delivered = w.Sent.Total() + w.Received.Total()
	if w.Seconds > 0 {
		run.DataPerSec = float64(w.Sent.Data) / w.Seconds
	}
	run.Late, run.LagP99 = atLoad.Late, atLoad.Lag.P99
	if counts.Sessions > 0 {
		run.RTT = counts.RTT / float64(counts.Sessions)
	}
}

// latency returns the percentiles of the end that received more; with traffic both ways the
// worse percentiles of both, because an average would hide a slow direction.
func latency(a, b tally.Report) *report.Percentiles {
	if a.Latency.Count < b.Latency.Count {
		a, b = b, a
	}
	p, q := a.Latency, b.Latency
	// A direction counts with a tenth of the datagrams or more.
	if q.Count*10 > p.Count {
		p.P50, p.P90, p.P99 = max(p.P50, q.P50), max(p.P90, q.P90), max(p.P99, q.P99)
		p.P999, p.Max = max(p.P999, q.P999), max(p.Max, q.Max)
	}
	return percentiles(p)
}

func percentiles(p tally.Percentiles) *report.Percentiles {
	return &report.Percentiles{P50: p.P50, P90: p.P90, P99: p.P99, P999: p.P999, Max: p.Max}
}

func (b *Bench) fillCPU(run *report.Run, u cpu.Usage) {
	wall := u.Wall.Seconds()
	cores := func(d time.Duration) float64 { return d.Seconds() / wall }
	run.BusyCores = cores(u.Busy) - b.doc.Machine.Idle
	run.TickedCores, run.SoftIRQ, run.Steal = cores(u.Ticked), cores(u.SoftIRQ), cores(u.Steal)
	run.PeerCores, run.LoadCores, run.SinkCores = cores(u.Procs["peer"]), cores(u.Procs["load"]), cores(u.Procs["sink"])
	if run.Delivered > 0 {
		run.CostMicros = run.BusyCores * wall * 1e6 / float64(run.Delivered)
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("interrupted: %w", ctx.Err())
	}
}
