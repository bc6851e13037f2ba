//go:build linux

package load

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"srtrelay/bench/socket"
	"srtrelay/bench/srt"
)

// Mode is what the load does.
type Mode string

// The modes.
const (
	// Steady sends data at a fixed rate in sessions that stay.
	Steady Mode = "steady"
	// Idle keeps sessions connected and sends keepalives only.
	Idle Mode = "idle"
	// Connects makes and ends sessions all the time.
	Connects Mode = "connects"
	// Flood sends CONCLUSIONs with random cookies.
	Flood Mode = "flood"
)

// Config is the load's settings.
type Config struct {
	Target      string // addresses, with commas between
	Mode        Mode
	Sessions    int
	Rate        float64 // datagrams (connects: handshakes) per second, of all sessions
	Players     float64 // share of the data that flows to callers
	Ports       int     // UDP ports at most
	Keepalive   time.Duration
	ConnectRate float64 // sessions per second at the beginning, 0 for no limit
	InFlight    int     // handshakes at once
	Timeout     time.Duration
	Tick        time.Duration
	CPU         int
	Buffer      int
	Prefix      string // of the streams' names
	Local       string // address that callers come from
	Raw         bool   // flood from random ports
	Frames      bool   // send by a packet socket
	Batch       int    // data datagrams that one call of a packet socket sends at most
	Train       int    // data datagrams of a session that leave together
	Duration    time.Duration
}

const help = `Usage: bench load -target HOST:PORT [flags]

Plays SRT callers: publishers, and with -players also players, with real
handshakes, acknowledgements and keepalives. Point it at a relay whose backends
are "bench sink": only those send what players ask for, and check what arrives.

    bench load -target relay:20080 -sessions 100 -rate 60000 -duration 10s

sends 60,000 data datagrams per second (6.3 Mb/s per session) for ten seconds.
A 6.3 Mb/s stream is 600 datagrams per second.

Modes:
  steady    data at -rate, in all sessions in turn, by a schedule that nothing
            slows down; what could not be sent in time is sent late and counted
  idle      -sessions connected, keepalives only, every -keepalive
  connects  complete handshakes, each ended by a SHUTDOWN, at -rate per second or
            as fast as -inflight at once go (-rate 0)
  flood     well-formed CONCLUSIONs with random cookies and socket IDs at -rate,
            or as many as possible (-rate 0); to be run beside "connects"

With a terminal as input, or with -duration, it shows progress and prints a
summary at the end. Otherwise it is driven by lines on its input, each answered
by one line of JSON: start, mark (begins the measured window), look (reports),
stop (ends the traffic and reports), quit. The first line of JSON says that all
sessions are connected.

Flags:
`

// Flags declares the load's flags.
func Flags(fs *flag.FlagSet) *Config {
	c := &Config{}
	fs.StringVar(&c.Target, "target", "", "`address` of a relay or sink; several, with commas between, share the sessions")
	fs.StringVar((*string)(&c.Mode), "mode", string(Steady), "`mode`: steady, idle, connects or flood")
	fs.IntVar(&c.Sessions, "sessions", 100, "`number` of callers")
	fs.Float64Var(&c.Rate, "rate", 0, "data datagrams (connects, flood: handshakes) per second over all `sessions` together")
	fs.Float64Var(&c.Players, "players", 0, "`share` of the sessions, and of the data, that flows from the backends to callers, 0 to 1")
	fs.IntVar(&c.Ports, "ports", 1024, "UDP `ports` at most; beyond that sessions share them")
	fs.DurationVar(&c.Keepalive, "keepalive", time.Second, "`interval` of keepalives in sessions that send nothing else")
	fs.Float64Var(&c.ConnectRate, "connect-rate", 5000, "`sessions` connected per second at the beginning; 0 for no limit")
	fs.IntVar(&c.InFlight, "inflight", 256, "`handshakes` under way at once")
	fs.DurationVar(&c.Timeout, "connect-timeout", 3*time.Second, "`time` after which a caller gives up, as libsrt's do")
	fs.DurationVar(&c.Tick, "tick", 200*time.Microsecond, "`time` between two rounds of sending and receiving")
	fs.IntVar(&c.CPU, "cpu", -1, "`CPU` for the thread; -1 for any")
	fs.IntVar(&c.Buffer, "buffer", 1<<20, "socket buffers in `bytes`; without root the kernel's limit holds")
	fs.StringVar(&c.Prefix, "prefix", "bench", "`app` of the streams' names: bench/s17, bench/p3")
	fs.StringVar(&c.Local, "local", "", "`address` that callers come from, without port")
	fs.BoolVar(&c.Raw, "raw", true, "flood from random ports, if the right to raw sockets is there (IPv4)")
	fs.BoolVar(&c.Frames, "frames", false, "send by a packet socket, past this host's IP stack: much cheaper; needs root, IPv4 and Ethernet")
	fs.IntVar(&c.Batch, "batch", socket.OutboxMessages, "`number` of datagrams at most that -frames sends by one call; all bear its time")
	fs.IntVar(&c.Train, "train", 1, "`number` of data datagrams of a session that leave together, as one message (UDP_SEGMENT)")
	fs.DurationVar(&c.Duration, "duration", 0, "measure for this `time`, then print a summary and end")
	fs.Usage = func() {
		fmt.Fprint(fs.Output(), help)
		fs.PrintDefaults()
	}
	return c
}

// maxSessions leaves room for the socket IDs of a long run of connects.
const maxSessions = 1 << 22

// maxTrain datagrams are what one message holds.
const maxTrain = (1<<16 - 1) / srt.DataSize

// check refuses values that make no sense.
func (c Config) check() error {
	positive := func(name string, ok bool, v any) error {
		if !ok {
			return fmt.Errorf("load: %s: %v: must be positive", name, v)
		}
		return nil
	}
	switch {
	case c.Target == "":
		return errors.New("load: -target: missing, give the address of a relay")
	case !slices.Contains([]Mode{Steady, Idle, Connects, Flood}, c.Mode):
		return fmt.Errorf("load: -mode: %q: not one of steady, idle, connects, flood", string(c.Mode))
	case c.Sessions < 1 || c.Sessions > maxSessions:
		return fmt.Errorf("load: -sessions: %d: not from 1 to %d", c.Sessions, maxSessions)
	case !(c.Rate >= 0) || c.Rate > 1e8:
		return fmt.Errorf("load: -rate: %v: not from 0 to 1e8", c.Rate)
	case !(c.ConnectRate >= 0) || c.ConnectRate > 1e8:
		return fmt.Errorf("load: -connect-rate: %v: not from 0 to 1e8", c.ConnectRate)
	case !(c.Players >= 0 && c.Players <= 1):
		return fmt.Errorf("load: -players: %v: not a share from 0 to 1", c.Players)
	case c.Train < 1 || c.Train > maxTrain:
		return fmt.Errorf("load: -train: %d: not from 1 to %d", c.Train, maxTrain)
	case c.Batch < 1 || c.Batch > socket.OutboxMessages:
		return fmt.Errorf("load: -batch: %d: not from 1 to %d", c.Batch, socket.OutboxMessages)
	case c.Train > 1 && c.Frames:
		return errors.New("load: -train: not with -frames")
	case c.Ports < 1 || c.Ports > 60000:
		return fmt.Errorf("load: -ports: %d: not from 1 to 60000", c.Ports)
	}
	return errors.Join(
		positive("-keepalive", c.Keepalive >= time.Millisecond, c.Keepalive),
		positive("-inflight", c.InFlight > 0, c.InFlight),
		positive("-connect-timeout", c.Timeout > 0, c.Timeout),
		positive("-tick", c.Tick > 0, c.Tick),
		positive("-buffer", c.Buffer > 0, c.Buffer),
	)
}

// targets resolves the addresses.
func (c Config) targets() ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for text := range strings.SplitSeq(c.Target, ",") {
		ap, err := resolve(text)
		if err != nil {
			return nil, fmt.Errorf("load: -target: %w", err)
		}
		all = append(all, ap)
	}
	return all, nil
}

// local is the address of -local, or an invalid one.
func (c Config) local() (netip.AddrPort, error) {
	if c.Local == "" {
		return netip.AddrPort{}, nil
	}
	ip, err := netip.ParseAddr(c.Local)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("load: -local: %w", err)
	}
	return netip.AddrPortFrom(ip, 0), nil
}
