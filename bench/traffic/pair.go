//go:build linux

package traffic

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/bench/tally"
)

const (
	// answerPatience is enough for commands that do little.
	answerPatience = 10 * time.Second
	// drainPatience is enough for stop, which waits for datagrams in flight.
	drainPatience = 20 * time.Second
	// FirstBackend is the first sink's port; the others follow it.
	FirstBackend = 10001
)

// Mode is the load's mode.
type Mode string

// The load's modes.
const (
	Steady   Mode = "steady"
	Idle     Mode = "idle"
	Connects Mode = "connects"
	Flood    Mode = "flood"
)

// Plan is one load and the sinks that it reaches.
type Plan struct {
	Mode        Mode
	Sessions    int
	Players     float64 // share of the data that flows to callers
	Rate        int     // data datagrams (connects, bogus conclusions) per second; 0 in the last two modes: as many as possible
	Libsrt      bool    // origins take the place of the sinks
	Singly      bool    // sinks receive as libsrt does: woken by each arrival, one datagram per call
	Batch       int     // data datagrams that the load sends by one call at most, 0 for the load's default
	Train       int     // data datagrams of a session that the load sends together, 0 for one
	ACKEvery    int     // data datagrams per ACK of the sinks, 0 for the usual number
	Ports       int     // callers' UDP ports at most, 0 for the load's default
	Keepalive   time.Duration
	ConnectRate int // sessions connected per second at most, 0 for the load's default
}

// Ends are the programs and CPUs of load and sinks.
type Ends struct {
	Lab   *lab.Lab
	Bench string // this program
	CPUs  []int
	Sinks int
}

// Backends are the sinks as they are reached at one of the origin's addresses:
// they listen on all of them.
func (e Ends) Backends(at netip.Addr) []netip.AddrPort {
	var all []netip.AddrPort
	for i := range e.Sinks {
		all = append(all, netip.AddrPortFrom(at, uint16(FirstBackend+i)))
	}
	return all
}

// StartSink opens the backends for a plan's sessions.
func (e Ends) StartSink(ctx context.Context, p Plan) (*Worker, error) {
	first := netip.AddrPortFrom(netip.IPv4Unspecified(), FirstBackend)
	args := []string{e.Bench, "sink", "-listen", first.String(), "-count", strconv.Itoa(e.Sinks)}
	if p.Keepalive > 0 {
		args = append(args, "-keepalive", p.Keepalive.String())
	}
	if p.Singly {
		args = append(args, "-singly")
	}
	if p.ACKEvery > 0 {
		args = append(args, "-ack-every", strconv.Itoa(p.ACKEvery))
	}
	args = append(args, cpuFlag(e.CPUs)...)
	return ready(ctx, e.Lab.Origin, lab.Program{Label: "sink", Args: args, CPUs: e.CPUs}, answerPatience)
}

// StartLoad connects the callers.
func (e Ends) StartLoad(ctx context.Context, p Plan, targets []netip.AddrPort) (*Worker, tally.Report, error) {
	w, err := start(e.Lab.Callers, lab.Program{Label: "load", Args: e.loadArgs(p, targets), CPUs: e.CPUs})
	if err != nil {
		return nil, tally.Report{}, err
	}
	// Fewer handshakes per second than any peer manages.
	r, err := w.await(ctx, answerPatience+time.Duration(p.Sessions)*time.Millisecond)
	if err != nil {
		w.proc.Kill()
		return nil, r, err
	}
	if r.Handshakes.Failed > 0 {
		w.proc.Kill()
		return nil, r, fmt.Errorf("load: %d of %d sessions did not connect", r.Handshakes.Failed, p.Sessions)
	}
	return w, r, nil
}

func (e Ends) loadArgs(p Plan, targets []netip.AddrPort) []string {
	var to []string
	for _, t := range targets {
		to = append(to, t.String())
	}
	args := []string{e.Bench, "load", "-target", strings.Join(to, ","), "-sessions", strconv.Itoa(p.Sessions), "-rate", strconv.Itoa(p.Rate)}
	if p.Mode != Steady {
		args = append(args, "-mode", string(p.Mode))
	}
	if p.Train > 1 {
		args = append(args, "-train", strconv.Itoa(p.Train))
	} else if p.Mode == Steady || p.Mode == Idle {
		// The lab is one Ethernet link to one host, so that whole frames can be
		// sent, which saves a quarter of the generator's cost.
		args = append(args, "-frames")
		if p.Batch > 0 {
			args = append(args, "-batch", strconv.Itoa(p.Batch))
		}
	}
	if p.Players > 0 {
		args = append(args, "-players", strconv.FormatFloat(p.Players, 'f', -1, 64))
	}
	if p.Ports > 0 {
		args = append(args, "-ports", strconv.Itoa(p.Ports))
	}
	if p.Keepalive > 0 {
		args = append(args, "-keepalive", p.Keepalive.String())
	}
	if p.ConnectRate > 0 {
		args = append(args, "-connect-rate", strconv.Itoa(p.ConnectRate))
	}
	return append(args, cpuFlag(e.CPUs)...)
}

// cpuFlag pins the threads of a worker that has one CPU.
func cpuFlag(cpus []int) []string {
	if len(cpus) != 1 {
		return nil
	}
	return []string{"-cpu", strconv.Itoa(cpus[0])}
}

func ready(ctx context.Context, n *lab.Namespace, p lab.Program, patience time.Duration) (*Worker, error) {
	w, err := start(n, p)
	if err != nil {
		return nil, err
	}
	if _, err := w.await(ctx, patience); err != nil {
		w.proc.Kill()
		return nil, err
	}
	return w, nil
}

// Quit ends workers, which may be nil.
func Quit(workers ...*Worker) {
	for _, w := range workers {
		if w != nil {
			w.quit()
		}
	}
}

// Start begins the traffic: first where it arrives, then where it leaves.
func Start(ctx context.Context, sink, load *Worker) error {
	return both(ctx, "start", sink, load)
}

// Mark begins the measured window.
func Mark(ctx context.Context, sink, load *Worker) error {
	return both(ctx, "mark", sink, load)
}

func both(ctx context.Context, command string, workers ...*Worker) error {
	for _, w := range workers {
		if w == nil {
			continue
		}
		if _, err := w.ask(ctx, command, answerPatience); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the traffic at both ends at the same time and reads the reports. Each end goes on
// receiving while it drains. sink is nil if there are origins in its place.
func Stop(ctx context.Context, sink, load *Worker) (atSink, atLoad tally.Report, err error) {
	if sink == nil {
		atLoad, err = load.Ask(ctx, "stop")
		return atSink, atLoad, err
	}
	if err := errors.Join(load.send("stop"), sink.send("stop")); err != nil {
		return atSink, atLoad, err
	}
	if atLoad, err = load.await(ctx, drainPatience); err != nil {
		return atSink, atLoad, err
	}
	atSink, err = sink.await(ctx, drainPatience)
	return atSink, atLoad, err
}

// Ask sends one command to one worker, which runs alone.
func (w *Worker) Ask(ctx context.Context, command string) (tally.Report, error) {
	return w.ask(ctx, command, drainPatience)
}
