//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

const (
	manySessions = 100_000
	// quickSessions is the number of sessions of a quick bench.
	quickSessions = 10_000
	// idlePorts is how many ports the sessions share.
	idlePorts = 400
	// restTime is as long as two rounds of keepalives.
	restTime = 2*quietKeepalive + time.Second
)

var memory = Scenario{
	ID: "memory", Title: "memory per idle session",
	run: func(ctx context.Context, b *Bench) error {
		for _, p := range b.among(relay, kernelPath) {
			n := manySessions
			rest := restTime
			if b.opts.Quick {
				n, rest = quickSessions, time.Second
			}
			plan := traffic.Plan{Mode: traffic.Idle, Sessions: or(b.opts.Sessions, n), Ports: idlePorts, Keepalive: quietKeepalive, ConnectRate: connectRate}
			run, err := b.weigh(ctx, Case{Scenario: "memory", Peer: p, Plan: plan, Round: 1, Shards: 1, Flags: patientFlags, Window: rest})
			if err != nil {
				return fmt.Errorf("memory, %s: %w", p.Name(), err)
			}
			b.doc.Runs = append(b.doc.Runs, run)
			b.say.line("%-11s %-21s %d sessions: %.0f bytes each, %d fds", "memory", p.Name(), run.Sessions, run.Memory.PerSession, run.Memory.FDs)
			if p.Name() == relay {
				b.verdict(report.AtMost("memory", "resident bytes per idle session", run.Memory.PerSession, 1024))
				b.verdict(report.AtMost("memory", "open files", float64(run.Memory.FDs), 299))
			}
		}
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		return time.Duration(len(b.among(relay, kernelPath))) * (restTime + manySessions*time.Second/connectRate + 5*time.Second)
	},
}

// weigh compares the relay's memory without and with sessions.
func (b *Bench) weigh(ctx context.Context, c Case) (run report.Run, err error) {
	r := &running{}
	defer func() { err = errors.Join(err, r.stop()) }()
	site, err := b.site(c)
	if err != nil {
		return run, err
	}
	if r.sink, err = b.ends.StartSink(ctx, c.Plan); err != nil {
		return run, err
	}
	if r.peer, err = c.Peer.Start(site); err != nil {
		return run, err
	}
	b.seen(c.Peer.Name(), r.peer.Config)
	pid := r.peer.PIDs[0]
	var m report.Memory
	if m.EmptyRSS, m.EmptyPSS, err = memoryOf(pid); err != nil {
		return run, err
	}
	if r.load, r.connected, err = b.ends.StartLoad(ctx, c.Plan, r.peer.Targets); err != nil {
		return run, err
	}
	if err := traffic.Start(ctx, r.sink, r.load); err != nil {
		return run, err
	}
	if err := pause(ctx, c.Window); err != nil {
		return run, err
	}
	if m.RSS, m.PSS, err = memoryOf(pid); err != nil {
		return run, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return run, fmt.Errorf("count open files: %w", err)
	}
	m.FDs = len(fds)
	m.PerSession = (float64(m.RSS) - float64(m.EmptyRSS)) / float64(c.Plan.Sessions)
	run = c.blank()
	run.Memory = &m
	return run, nil
}

// memoryOf reads what a process holds in memory, all of it and its fair
// share of what it has in common with others.
func memoryOf(pid int) (rss, pss uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read memory of process: %w", err)
	}
	return parseRollup(string(text))
}

func parseRollup(text string) (rss, pss uint64, err error) {
	found := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseUint(f[1], 10, 54)
		if err != nil {
			return 0, 0, fmt.Errorf("parse smaps_rollup: %s %w", f[0], err)
		}
		switch f[0] {
		case "Rss:":
			rss = kib << 10
			found++
		case "Pss:":
			pss = kib << 10
			found++
		}
	}
	if found != 2 {
		return 0, 0, errors.New("parse smaps_rollup: Rss or Pss is missing")
	}
	return rss, pss, nil
}
