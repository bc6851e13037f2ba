//go:build linux

package sink

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"time"

	"srtrelay/bench/srt"
)

// Config is the sinks' settings.
type Config struct {
	Listen    string        // first address; the ports of the others follow it
	Count     int           // of ports
	CPU       int           // that the thread is pinned to, negative for any
	Tick      time.Duration // between two looks at the sockets under load
	Keepalive time.Duration // of sessions that send nothing, unless they ask otherwise
	Idle      time.Duration // after which a silent session is forgotten
	ACKEvery  int           // data packets per ACK
	GRO       bool
	Singly    bool          // receive as libsrt does
	Buffer    int           // wanted socket buffers, in bytes
	Duration  time.Duration // of an operator's run, 0 for no end
}

// DefaultTick is a compromise: waking up costs about 4 µs, and 60,000
// datagrams per second are 12 in a tick.
const DefaultTick = 200 * time.Microsecond

const help = `Usage: bench sink [flags]

Plays SRT servers (backends): accepts every caller, checks what publishers send
and streams to players what their stream ID asks for (m=request,pps=600).

With a terminal as input, or with -duration, it shows progress and prints a
summary at the end. Otherwise it is driven by lines on its input, each answered
by one line of JSON: start, mark (begins the measured window), look (reports),
stop (ends the traffic and reports), quit. The first line of JSON says that the ports are open.

Flags:
`

// Flags declares the sink's flags.
func Flags(fs *flag.FlagSet) *Config {
	c := &Config{}
	fs.StringVar(&c.Listen, "listen", "127.0.0.1:10001", "`address` of the first port; the others follow it")
	fs.IntVar(&c.Count, "count", 4, "`number` of ports, one backend each")
	fs.IntVar(&c.CPU, "cpu", -1, "`CPU` for the thread; -1 for any")
	fs.DurationVar(&c.Tick, "tick", DefaultTick, "`time` between two looks at the sockets under load")
	fs.DurationVar(&c.Keepalive, "keepalive", time.Second, "`interval` of keepalives in sessions that send nothing else")
	fs.DurationVar(&c.Idle, "idle-timeout", 10*time.Second, "`time` after which a silent session is forgotten")
	fs.IntVar(&c.ACKEvery, "ack-every", srt.ACKEvery, "`number` of data packets per ACK; libsrt sends one every 10 ms")
	fs.BoolVar(&c.Singly, "singly", false, "receive as libsrt does: woken by each arrival, one datagram per call")
	fs.BoolVar(&c.GRO, "gro", false, "receive with UDP_GRO, which SRS does not")
	fs.IntVar(&c.Buffer, "buffer", 16<<20, "socket buffers in `bytes`; without root the kernel's limit holds")
	fs.DurationVar(&c.Duration, "duration", 0, "measure for this `time`, then print a summary and end")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help)
		fs.PrintDefaults()
	}
	return c
}

// addresses checks the configuration and returns what to listen on.
func (c Config) addresses() ([]netip.AddrPort, error) {
	first, err := netip.ParseAddrPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("sink: -listen: %w", err)
	}
	for _, d := range []struct {
		name string
		time.Duration
	}{{"-tick", c.Tick}, {"-keepalive", c.Keepalive}, {"-idle-timeout", c.Idle}} {
		if d.Duration <= 0 {
			return nil, fmt.Errorf("sink: %s: %v: must be positive", d.name, d.Duration)
		}
	}
	if c.Count < 1 || int(first.Port())+c.Count-1 > 0xffff {
		return nil, fmt.Errorf("sink: -count: %d: must be positive and end at port 65535", c.Count)
	}
	if c.ACKEvery < 1 || c.ACKEvery > 0xff {
		return nil, fmt.Errorf("sink: -ack-every: %d: not from 1 to 255", c.ACKEvery)
	}
	if c.Buffer < 1 {
		return nil, errors.New("sink: -buffer: must be positive")
	}
	var all []netip.AddrPort
	for i := range c.Count {
		port := first.Port()
		if port != 0 {
			port += uint16(i)
		}
		all = append(all, netip.AddrPortFrom(first.Addr(), port))
	}
	return all, nil
}
