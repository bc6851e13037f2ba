//go:build linux

package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"srtrelay/bench/cpu"
	"srtrelay/bench/lab"
	"srtrelay/bench/peers"
	"srtrelay/bench/report"
	"srtrelay/bench/traffic"
)

const (
	quickRounds = 1
	// warmTime lets queues, caches and the relay's batches settle.
	warmTime = 700 * time.Millisecond
	// windowTime is long enough for /proc's resolution of 10 ms to be less than a percent
	// of what is measured.
	windowTime = 3 * time.Second
	// idleTime is the window for the machine's own load, which is small and noisy.
	idleTime = 3 * time.Second
	// quietCores is how many cores may be busy on an idle machine: more would be a tenth
	// of the added cost to be measured.
	quietCores = 0.03
	// idleTries bounds the wait for a quiet machine to about half a minute.
	idleTries = 10
	// settleTime is the time between the last run and the idle window.
	settleTime = 200 * time.Millisecond
)

// Bench is one run of the suite. It owns the lab.
type Bench struct {
	opts   Options
	lab    *lab.Lab
	ends   traffic.Ends
	dir    string // peers' configurations
	self   string // this program
	origin string // internal/origin, once it is built
	doc    report.Document
	say    *progress
	peers  []peers.Peer // by name and variants
	// ceilings are the highest lossless rates that were found, by peer.
	ceilings map[string]ceiling
}

// Run makes the whole bench and writes its report into the directory of
// Options.Out, also after a failed or interrupted scenario, for what was
// measured until then.
func Run(ctx context.Context, o Options, out io.Writer) (err error) {
	b, err := open(o, out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	if err := b.tryKernelPath(ctx); err != nil {
		return err
	}
	if err := b.idle(ctx); err != nil {
		return err
	}
	chosen := b.chosen()
	b.say.plan(b, chosen)
	var failures []error
	for _, s := range chosen {
		b.say.scenario(s, s.estimate(b))
		if err := s.run(ctx, b); err != nil {
			b.note(s.ID, "not finished: "+firstLine(err.Error()))
			failures = append(failures, err)
			b.say.failed(err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(append(failures, b.write())...)
}

func open(o Options, out io.Writer) (*Bench, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	if err := checkTools(o); err != nil {
		return nil, err
	}
	l, err := lab.Open()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "srtbench-")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("make directory: %w", err), l.Close())
	}
	b := &Bench{
		opts: o, lab: l, dir: dir, self: self, say: newProgress(out), ceilings: map[string]ceiling{},
		ends: traffic.Ends{Lab: l, Bench: self, CPUs: o.LoadCPUs, Sinks: o.Sinks},
	}
	b.peers = peersOf(o)
	b.doc = report.Document{Machine: machine(b), Started: time.Now().UTC(), Quick: o.Quick, Rounds: o.Rounds}
	return b, nil
}

func (b *Bench) close() error {
	if b.opts.Keep {
		fmt.Fprintln(b.say.out, "kept:", b.dir)
		return b.lab.Close()
	}
	return errors.Join(b.lab.Close(), os.RemoveAll(b.dir))
}

// peersOf returns the chosen peers, with the relay's variants behind it.
func peersOf(o Options) []peers.Peer {
	var all []peers.Peer
	for _, name := range peers.Names() {
		if !slices.Contains(o.Peers, name) {
			continue
		}
		switch name {
		case "direct":
			all = append(all, peers.Direct())
		case relay:
			all = append(all, peers.UserSpace(name, o.Binary))
			for _, v := range o.Variants {
				all = append(all, v)
			}
		case "kernel-path":
			all = append(all, peers.KernelPath(o.Binary))
		case "kernel-path-accept":
			all = append(all, peers.KernelPathAccept(o.Binary))
		case "nginx":
			all = append(all, peers.Nginx())
		case "nft":
			all = append(all, peers.NFT())
		case "goproxy":
			all = append(all, peers.GoProxy())
		}
	}
	return all
}

// among returns the chosen peers with these names; "srtrelay" includes its variants.
func (b *Bench) among(names ...string) []peers.Peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p peers.Peer) bool { return !slices.Contains(names, family(p)) })
}

// usual returns the peers that take part everywhere: all but the kernel path with
// --kernel-path-local=accept, of which only the cost is measured.
func (b *Bench) usual() []peers.Peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p peers.Peer) bool { return p.Name() == kernelPathAccept })
}

// family returns the name by which -peers and among choose a peer.
func family(p peers.Peer) string {
	if _, isRelay := p.(peers.Relay); isRelay && !isKernelPath(p) {
		return relay
	}
	return p.Name()
}

// idle measures what the machine does by itself. It waits for a quiet machine for a while,
// because other work would be counted as the peers'.
func (b *Bench) idle(ctx context.Context) error {
	for try := 0; ; try++ {
		busy, err := idleCores(ctx)
		if err != nil {
			return fmt.Errorf("measure idle: %w", err)
		}
		b.doc.Machine.Idle = busy
		switch {
		case busy <= quietCores:
			return nil
		case b.opts.NoWait || try == idleTries:
			b.note("machine", fmt.Sprintf("the machine was not idle before the bench: %.2f cores busy; the figures are not to be trusted", busy))
			return nil
		}
		fmt.Fprintf(b.say.out, "waiting for a quiet machine: %.2f cores busy\n", busy)
	}
}

func idleCores(ctx context.Context) (float64, error) {
	if err := pause(ctx, settleTime); err != nil {
		return 0, err
	}
	before, err := cpu.Read(nil)
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, idleTime); err != nil {
		return 0, err
	}
	after, err := cpu.Read(nil)
	if err != nil {
		return 0, err
	}
	u := cpu.Between(before, after)
	return max(0, u.Busy.Seconds()/u.Wall.Seconds()), nil
}

// seen keeps a peer's configuration for the report, as it was first used.
func (b *Bench) seen(name, config string) {
	if !slices.ContainsFunc(b.doc.Peers, func(p report.Peer) bool { return p.Name == name }) {
		b.doc.Peers = append(b.doc.Peers, report.Peer{Name: name, Config: config})
	}
}

func (b *Bench) note(scenario, text string) {
	b.doc.Notes = append(b.doc.Notes, report.Note{Scenario: scenario, Text: text})
}

// verdict adds a verdict. On a busy machine a ratio may have no value, and JSON has no NaN.
func (b *Bench) verdict(v report.Verdict) {
	if v.Missing == "" && (math.IsNaN(v.Value-v.Limit) || math.IsInf(v.Value-v.Limit, 0)) {
		v.Value, v.Limit, v.Missing = 0, finite(v.Limit), "the machine was too busy to tell"
	}
	b.doc.Verdicts = append(b.doc.Verdicts, v)
	b.say.verdict(v)
}

func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

func (b *Bench) write() error {
	b.doc.Seconds = time.Since(b.doc.Started).Seconds()
	report.FillAdded(b.doc.Runs)
	if err := report.Write(b.doc, b.opts.Out); err != nil {
		return err
	}
	fmt.Fprintf(b.say.out, "\nreport: %s/report.md, report.json, report.html\n", b.opts.Out)
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
