//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"

	"srtrelay/bench/lab"
)

// Config is the settings of a rig.
type Config struct {
	Relay  string   // the relay's binary
	Flags  []string // of the relay
	Static int      // servers that the relay is told of
	Others int      // servers that register themselves, see Beat
	Ports  int      // of the callers
	Seed   uint64
	// Locals are the callers' addresses, beside that of the lab: they are added to its device.
	Locals []netip.Addr
	// Apart is the time between the first connects of two sessions; 0 for 2 ms.
	Apart time.Duration
}

// InLab runs fn in a new lab and a new directory, so that no Redis reads the files of
// another run.
func InLab(name string, fn func(l *lab.Lab, dir string) error) (err error) {
	dir, err := os.MkdirTemp("", "srt"+name+"-")
	if err != nil {
		return fmt.Errorf("%s: make directory: %w", name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	l, err := lab.Open()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	return fn(l, dir)
}

// Seed returns the seed asked for, or a random one for 0.
func Seed(asked uint64) uint64 {
	if asked != 0 {
		return asked
	}
	return uint64(time.Now().UnixNano())%1_000_000 + 1
}

// AwaitOpen waits until all sessions that stay are connected.
func (r *Rig) AwaitOpen(ctx context.Context, patience time.Duration) error {
	err := r.Relay.await(ctx, patience, "connect everybody", func() bool {
		n := r.Callers.Counts()
		return n.Open == n.Wanted
	})
	if err != nil {
		n := r.Callers.Counts()
		return fmt.Errorf("%w: %d of %d connected, rejected: %s", err, n.Open, n.Wanted, Codes(n.Rejected))
	}
	return nil
}

// Codes lists rejections by code.
func Codes(rejected map[uint32]uint64) string {
	text := ""
	for _, code := range slices.Sorted(maps.Keys(rejected)) {
		text += fmt.Sprintf(" %d times %d", rejected[code], code)
	}
	if text == "" {
		return "none"
	}
	return text[1:]
}
