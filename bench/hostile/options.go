//go:build linux

package hostile

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Options are the options of a run.
type Options struct {
	Relay     string
	Seed      uint64
	Sessions  int
	Storm     int // sessions of the act storm
	Datagrams int // hostile ones
	Short     bool
	Only      string // acts, with commas between
	Phases    string // parts of phases' names, with commas between
	Out       string
	Flags     string // of the relay
}

const help = `Usage: bench hostile [flags]

Puts faults and attacks to the relay, one after the other, while 500 sessions
carry numbered datagrams both ways through the real binary and others come and
go. It takes ten minutes and needs root, redis-server and redis-cli; everything
happens in two network namespaces.

    load 10.77.0.1 ---- veth ---- 10.77.0.2:20080 relay -> 10.77.0.2:10001... servers

Acts:
  single    one Redis: its log's reader stalls and dies, SIGSTOP of the relay and
            of servers, a server killed, 1 M hostile datagrams, 1 M datagrams forged to
            hijack sessions, floods from one and from 10,000 addresses, abuse of the
            API, Redis killed, emptied, and filled with keys of wrong types
  sentinel  the master of a Redis Sentinel is killed
  cluster   a master of a Redis Cluster (three, with replicas) is killed
  overload  the relay comes to its limit of sessions, and enters and leaves all steps of
            its overload ladder
  storm     10,000 sessions: all of them move to other ports at once; the relay is taken
            over while all connect again, and restarted; one server is slow and one is
            dead meanwhile

A phase holds if no session ended and no datagram was lost, those of servers that
were stopped or killed excepted. Datagrams that the kernel dropped at the
generator's own sockets, or in the host's queues, are told apart. At each act's
end the relay's books must balance, no session and no lease be left, and memory,
descriptors, goroutines and threads be what they were.

Ctrl-C ends it at any time. Exit code 1 if anything did not hold.

Flags:
`

// Flags declares the options.
func Flags(fs *flag.FlagSet) *Options {
	o := &Options{}
	fs.StringVar(&o.Relay, "relay", "bin/srtrelay", "the relay's `binary`")
	fs.Uint64Var(&o.Seed, "seed", 0, "`number` that all that is random follows from; 0 for another each time")
	fs.IntVar(&o.Sessions, "sessions", 500, "`number` of sessions that stay")
	fs.IntVar(&o.Storm, "storm", 10_000, "`number` of sessions that connect at once")
	fs.IntVar(&o.Datagrams, "datagrams", 1_000_000, "`number` of hostile datagrams")
	fs.BoolVar(&o.Short, "short", false, "short phases: under a minute per act, for tests")
	fs.StringVar(&o.Only, "only", "", "`acts` to run, with commas between (default all)")
	fs.StringVar(&o.Phases, "phases", "", "parts of the `names` of phases to run, with commas between (default all)")
	fs.StringVar(&o.Out, "out", "bench/out", "`directory` of hostile.md, which holds the table")
	fs.StringVar(&o.Flags, "relay-flags", "", "more `flags` for the relay, by blank")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help)
		fs.PrintDefaults()
	}
	return o
}

// actNames are all acts in the order in which they run.
var actNames = []string{"single", "sentinel", "cluster", "overload", "storm"}

// acts are the chosen ones.
func (o Options) acts() ([]string, error) {
	switch {
	case o.Sessions < 1 || o.Sessions > 10_000:
		return nil, fmt.Errorf("-sessions: %d: not from 1 to 10000", o.Sessions)
	case o.Storm < 1 || o.Storm > 50_000:
		return nil, fmt.Errorf("-storm: %d: not from 1 to 50000", o.Storm)
	case o.Datagrams < 0:
		return nil, errors.New("-datagrams: must not be negative")
	case o.Only == "":
		return actNames, nil
	}
	chosen := strings.Split(o.Only, ",")
	for _, name := range chosen {
		if !slices.Contains(actNames, name) {
			return nil, fmt.Errorf("-only: %q: not one of %s", name, strings.Join(actNames, ", "))
		}
	}
	return chosen, nil
}

// has reports whether a phase is chosen.
func (o Options) has(phase string) bool {
	return o.Phases == "" || slices.ContainsFunc(strings.Split(o.Phases, ","), func(part string) bool { return strings.Contains(phase, part) })
}

// hold is how long a phase lasts, shorter for tests.
func (o Options) hold(long time.Duration) time.Duration {
	if o.Short {
		return min(long, max(long/6, 1500*time.Millisecond))
	}
	return long
}

// rounds is how often a phase repeats its fault.
func (o Options) rounds() int {
	if o.Short {
		return 3
	}
	return 10
}
