//go:build linux

package suite

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/peers"
)

// loopback is where an origin host's own backends are.
const loopback = "127.0.0.1"

// Options are the suite's flags.
type Options struct {
	Only       []string
	Rounds     int
	Quick      bool
	Out        string
	Peers      []string
	Keep       bool
	NoWait     bool // measure on a busy machine, too
	Binary     string
	RelayFlags []string
	Variants   []peers.Relay
	Sinks      int
	Backends   netip.Addr // where relays and proxies reach the sinks
	LoadCPUs   []int
	PeerCPUs   []int
	Window     time.Duration
	Rate       int
	Sessions   int
}

// texts are the values of the flags before they are parsed.
type texts struct {
	only, peers, relayFlags, backends, loadCPUs, peerCPUs string
	variants, binaries                                    list
}

// list is a flag that may be repeated.
type list []string

// Set implements flag.Value.
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

func (l *list) String() string { return strings.Join(*l, " ") }

// Parse reads the suite's flags; usage goes to out when it is asked for.
func Parse(args []string, out io.Writer, usage string) (Options, error) {
	var o Options
	var t texts
	fs := flag.NewFlagSet("bench", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // the caller prints the error
	fs.Usage = func() {}
	fs.StringVar(&t.only, "only", "", "")
	fs.IntVar(&o.Rounds, "rounds", 5, "")
	fs.BoolVar(&o.Quick, "quick", false, "")
	fs.StringVar(&o.Out, "out", "bench/out", "")
	fs.StringVar(&t.peers, "peers", strings.Join(peers.Names(), ","), "")
	fs.BoolVar(&o.Keep, "keep", false, "")
	fs.BoolVar(&o.NoWait, "no-wait", false, "")
	fs.StringVar(&o.Binary, "relay", "bin/srtrelay", "")
	fs.StringVar(&t.relayFlags, "relay-flags", "", "")
	fs.Var(&t.variants, "variant", "")
	fs.Var(&t.binaries, "relay-binary", "")
	fs.IntVar(&o.Sinks, "sinks", 4, "")
	fs.StringVar(&t.backends, "backends", loopback, "")
	fs.StringVar(&t.loadCPUs, "load-cpus", "0", "")
	fs.StringVar(&t.peerCPUs, "peer-cpus", "1", "")
	fs.DurationVar(&o.Window, "window", 0, "")
	fs.IntVar(&o.Rate, "rate", 0, "")
	fs.IntVar(&o.Sessions, "sessions", 0, "")
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(out, usage)
			return o, err
		}
		return o, fmt.Errorf("%w; see -help", err)
	}
	if fs.NArg() > 0 {
		return o, fmt.Errorf("%q: unexpected argument; see -help", fs.Arg(0))
	}
	return o, o.parse(t)
}

// parse parses the texts and checks all values.
func (o *Options) parse(t texts) (err error) {
	if o.Rounds < 1 {
		return fmt.Errorf("-rounds: %d is less than 1", o.Rounds)
	}
	if o.Sinks < 1 || o.Sinks > 1000 {
		return fmt.Errorf("-sinks: %d is not between 1 and 1000", o.Sinks)
	}
	if o.Quick {
		o.Rounds = min(o.Rounds, quickRounds)
	}
	if o.Only, err = choice("-only", t.only, IDs()); err != nil {
		return err
	}
	if o.Peers, err = choice("-peers", t.peers, peers.Names()); err != nil {
		return err
	}
	if t.backends != loopback && t.backends != lab.OriginAddr.String() {
		return fmt.Errorf("-backends: %q is neither %s nor %s", t.backends, loopback, lab.OriginAddr)
	}
	o.Backends = netip.MustParseAddr(t.backends)
	if o.LoadCPUs, err = cpuList("-load-cpus", t.loadCPUs); err != nil {
		return err
	}
	if o.PeerCPUs, err = cpuList("-peer-cpus", t.peerCPUs); err != nil {
		return err
	}
	o.Binary = peers.Local(o.Binary)
	o.RelayFlags = strings.Fields(strings.ReplaceAll(t.relayFlags, ",", " "))
	return o.parseVariants(t)
}

// parseVariants parses name=--flag,--flag2 and name=path; both of one name make one variant.
func (o *Options) parseVariants(t texts) error {
	variant := func(flag, text string) (*peers.Relay, string, error) {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" || slices.Contains(peers.Names(), name) {
			return nil, "", fmt.Errorf("%s: %q is not NAME=..., with a name of its own", flag, text)
		}
		i := slices.IndexFunc(o.Variants, func(r peers.Relay) bool { return r.Label == name })
		if i < 0 {
			o.Variants = append(o.Variants, peers.UserSpace(name, o.Binary))
			i = len(o.Variants) - 1
		}
		return &o.Variants[i], value, nil
	}
	for _, text := range t.variants {
		v, flags, err := variant("-variant", text)
		if err != nil {
			return err
		}
		v.Flags = strings.FieldsFunc(flags, func(r rune) bool { return r == ',' || r == ' ' })
	}
	for _, text := range t.binaries {
		v, path, err := variant("-relay-binary", text)
		if err != nil {
			return err
		}
		v.Binary = peers.Local(path)
	}
	return nil
}

// choice reads a comma-separated list of known names.
func choice(flag, text string, known []string) ([]string, error) {
	var names []string
	for name := range strings.SplitSeq(text, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s: %q is not one of %s", flag, name, strings.Join(known, ", "))
		}
		names = append(names, name)
	}
	return names, nil
}

// cpuList reads "0", "0,2-3" or "all", which is no restriction.
func cpuList(flag, text string) ([]int, error) {
	if text == "all" {
		return nil, nil
	}
	var cpus []int
	for part := range strings.SplitSeq(text, ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || a < 0 || b < a || b > 1023 {
			return nil, fmt.Errorf("%s: %q is no list of CPUs such as 0,2-3, nor all", flag, text)
		}
		for c := a; c <= b; c++ {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}
