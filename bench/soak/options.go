//go:build linux

package soak

import (
	"flag"
	"fmt"
	"time"
)

// Options are the options of a run.
type Options struct {
	Relay    string
	Duration time.Duration
	Streams  int
	Connects float64 // short sessions per second
	Seed     uint64
	Out      string
	Flags    string // of the relay
}

const help = `Usage: bench soak [flags]

Keeps the relay busy for an hour: 200 streams that stay, each with numbered data
both ways; 100 sessions a second that connect, carry data and end (360,000 an
hour); of eight servers two that die and return and two whose heartbeats stop
and start; rules that change; captures, metrics, lists and the event feed read
all the time. It needs root and happens in two network namespaces.

It prints a line each ten seconds and writes soak.md, soak.html and soak.json.
It holds if no datagram was lost in a session whose server lived, the books are
exact at the end, and memory, descriptors, goroutines and threads did not grow
after the first sixth of the time (from the tenth minute on). Growth is fitted
over all samples, so that a single one decides nothing; in less than half an
hour memory may grow by 64 MiB in place of 8, because tables are still filling.

Ctrl-C ends it at any time; what was seen is still written. Exit code 1 if
anything did not hold.

Flags:
`

// Flags declares the options.
func Flags(fs *flag.FlagSet) *Options {
	o := &Options{}
	fs.StringVar(&o.Relay, "relay", "bin/srtrelay", "the relay's `binary`")
	fs.DurationVar(&o.Duration, "duration", time.Hour, "`time` that it lasts")
	fs.IntVar(&o.Streams, "streams", 200, "`number` of sessions that stay")
	fs.Float64Var(&o.Connects, "connects", 100, "`number` of sessions a second that connect and end")
	fs.Uint64Var(&o.Seed, "seed", 0, "`number` that all that is random follows from; 0 for another each time")
	fs.StringVar(&o.Out, "out", "bench/out", "`directory` of the report")
	fs.StringVar(&o.Flags, "relay-flags", "", "more `flags` for the relay, by blank")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help)
		fs.PrintDefaults()
	}
	return o
}

// shortest is how long a cycle of dying servers takes.
const shortest = 15 * time.Second

func (o Options) check() error {
	switch {
	case o.Duration < shortest:
		return fmt.Errorf("-duration: %v: not below %v", o.Duration, shortest)
	case o.Streams < 1 || o.Streams > 10_000:
		return fmt.Errorf("-streams: %d: not from 1 to 10000", o.Streams)
	case !(o.Connects >= 0 && o.Connects <= 2000):
		return fmt.Errorf("-connects: %v: not from 0 to 2000", o.Connects)
	}
	return nil
}

// warm is how long the beginning is, which the fits leave out.
func (o Options) warm() time.Duration { return o.Duration / 6 }

// sampleEvery is the time between two samples.
func (o Options) sampleEvery() time.Duration {
	return min(10*time.Second, max(o.Duration/60, time.Second))
}

// cycle is how often servers die, or their heartbeats stop: once a minute, and
// more often in a short run.
func (o Options) cycle() time.Duration { return min(time.Minute, o.Duration/3) }
