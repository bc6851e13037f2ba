//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
	"srtrelay/handshake"
)

const (
	manySessions = 100_000
	// quickSessions is the number of sessions of a quick bench.
	quickSessions = 10_000
	// idlePorts is how many ports the sessions share.
	idlePorts = 400
	// restTime is how long the relay has until it is weighed: its sessions' answers are kept for
	// handshake.ResponseTTL, and then given back.
	restTime = handshake.ResponseTTL + 2*quietKeepalive
)

var memory = Scenario{
	ID: "memory", Title: "memory per idle session",
	run: func(ctx context.Context, b *Bench) error {
		n := b.idleSessions()
		for _, p := range b.among(relay, kernelPath) {
			plan := traffic.Plan{Mode: traffic.Idle, Sessions: n, Ports: idlePorts, Keepalive: quietKeepalive, ConnectRate: connectRate}
			run, err := b.weigh(ctx, Case{Scenario: "memory", Peer: p, Plan: plan, Round: 1, Shards: 1, Flags: patientFlags, Window: restTime})
			if err != nil {
				return fmt.Errorf("memory, %s: %w", p.Name(), err)
			}
			b.doc.Runs = append(b.doc.Runs, run)
			b.say.line("%-11s %-21s %d sessions: %.0f bytes each, %d fds", "memory", p.Name(), run.Sessions, run.Memory.PerSession, run.Memory.FDs)
			if p.Name() == relay {
				b.judgeMemory(run)
			}
		}
		return nil
	},
	estimate: func(b *Bench) time.Duration {
		n := b.idleSessions()
		return time.Duration(len(b.among(relay, kernelPath))) * (restTime + time.Duration(n)*time.Second/connectRate + 5*time.Second)
	},
}

// judgeMemory limits the memory per session, of which few sessions tell nothing: what a relay
// takes once would be counted as theirs.
func (b *Bench) judgeMemory(run report.Run) {
	const text, limit = "resident bytes per idle session", 1024
	if run.Sessions < manySessions {
		b.missing("memory", text, "<=", limit, fmt.Sprintf("%d sessions are too few", run.Sessions))
	} else {
		b.verdict(report.AtMost("memory", text, run.Memory.PerSession, limit))
	}
	b.verdict(report.AtMost("memory", "open files", float64(run.Memory.FDs), 299))
}

// idleSessions returns how many sessions are idle.
func (b *Bench) idleSessions() int {
	if b.opts.Quick {
		return or(b.opts.Sessions, quickSessions)
	}
	return or(b.opts.Sessions, manySessions)
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
	if m.FDs, m.Maps, err = filesOf(pid); err != nil {
		return run, err
	}
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

// filesOf counts a process's open files, and the kernel's memory of the BPF maps among them.
func filesOf(pid int) (files int, maps uint64, err error) {
	dir := fmt.Sprintf("/proc/%d/fdinfo", pid)
	all, err := os.ReadDir(dir)
	if err != nil {
		return 0, 0, fmt.Errorf("count open files: %w", err)
	}
	for _, f := range all {
		text, err := os.ReadFile(filepath.Join(dir, f.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // closed in the meantime
		}
		if err != nil {
			return 0, 0, fmt.Errorf("read open files: %w", err)
		}
		maps += parseMap(string(text))
	}
	return len(all), maps, nil
}

// parseMap returns the memory of a BPF map, 0 for another file.
func parseMap(fdinfo string) (bytes uint64) {
	if !strings.Contains(fdinfo, "map_type:") {
		return 0
	}
	for line := range strings.Lines(fdinfo) {
		if value, ok := strings.CutPrefix(line, "memlock:"); ok {
			bytes, _ = strconv.ParseUint(strings.TrimSpace(value), 10, 64) // 0 if it is no number
		}
	}
	return bytes
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
