//go:build linux

package peers

import (
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"srtrelay/bench/lab"
)

// Port is where every relayed path listens.
const Port = 20080

// Site is where a peer is started, and for which load.
type Site struct {
	Origin   *lab.Namespace
	Backends []netip.AddrPort // as the peer reaches them, if it is a process
	Exposed  []netip.AddrPort // the same backends as callers reach them
	CPUs     []int            // those of the peer's worker
	Dir      string           // for configuration, the peer's alone
	Sessions int              // how many will come
	Bench    string           // this program, to run its subcommands
	Flags    []string
}

// Peer is a way from callers to backends. It is used for many runs, one at a
// time.
type Peer interface {
	Name() string
	// Start returns when callers can connect.
	Start(Site) (*Running, error)
}

// Running is a started peer. It belongs to one run.
type Running struct {
	Targets []netip.AddrPort // where callers connect
	PIDs    []int            // its processes
	Config  string           // what it was configured with
	API     *API             // of srtrelay only
	stop    func() error
}

// Stop ends the peer and undoes what it changed.
func (r *Running) Stop() error {
	if r.stop == nil {
		return nil
	}
	return r.stop()
}

// direct is the path without a relay.
type direct struct{}

// Direct is the path straight to the backends, which shows what a packet costs without a
// relay.
func Direct() Peer { return direct{} }

// Name implements Peer.
func (direct) Name() string { return "direct" }

// Start implements Peer.
func (direct) Start(s Site) (*Running, error) {
	return &Running{Targets: s.Exposed}, nil
}

func front() netip.AddrPort { return netip.AddrPortFrom(lab.OriginAddr, Port) }

func join(addrs []netip.AddrPort, prefix, separator string) string {
	var texts []string
	for _, a := range addrs {
		texts = append(texts, prefix+a.String())
	}
	return strings.Join(texts, separator)
}

// goproxyPeer is the plain Go proxy.
type goproxyPeer struct{}

// GoProxy is the plain Go proxy of bench/goproxy.
func GoProxy() Peer { return goproxyPeer{} }

// Name implements Peer.
func (goproxyPeer) Name() string { return "goproxy" }

// Start implements Peer.
func (goproxyPeer) Start(s Site) (*Running, error) {
	args := []string{s.Bench, "goproxy", "-listen", front().String(), "-backends", join(s.Backends, "", ",")}
	p, err := s.Origin.Start(lab.Program{Label: "goproxy", Args: args, CPUs: s.CPUs})
	if err != nil {
		return nil, err
	}
	if err := awaitPort(s.Origin, p); err != nil {
		p.Kill()
		return nil, err
	}
	return &Running{
		Targets: []netip.AddrPort{front()}, PIDs: []int{p.PID}, Config: strings.Join(args[1:], " "),
		stop: func() error { p.Kill(); return nil },
	}, nil
}

const (
	// startPatience is enough for a slow machine; all peers start within a second.
	startPatience = 15 * time.Second
	startPoll     = 5 * time.Millisecond
)

// awaitPort waits until the front's UDP port is bound.
func awaitPort(n *lab.Namespace, p *lab.Process) error {
	return await(p, func() bool { return portTaken(n, front()) })
}

// await polls a condition until it holds or the process ends.
func await(p *lab.Process, ready func() bool) error {
	deadline := time.NewTimer(startPatience)
	defer deadline.Stop()
	poll := time.NewTicker(startPoll)
	defer poll.Stop()
	for !ready() {
		select {
		case <-p.Done:
			return p.Failure()
		case <-deadline.C:
			return p.Failure()
		case <-poll.C:
		}
	}
	return nil
}

// portTaken tries to bind the port itself.
func portTaken(n *lab.Namespace, a netip.AddrPort) bool {
	err := n.Do(func() error {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(a))
		if err == nil {
			err = c.Close()
		}
		return err
	})
	return err != nil
}

// Local makes a path absolute, so that it means the same everywhere.
func Local(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// Names lists the peers that the suite knows, in the order of its tables.
func Names() []string { return slices.Clone(names) }

var names = []string{"direct", "srtrelay", "kernel-path", "kernel-path-accept", "nft", "nginx", "goproxy"}
