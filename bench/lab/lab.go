//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"

	"srtrelay/internal/clocale"
)

// The addresses exist inside the two namespaces only, so they cannot collide
// with the host's.
var (
	// CallersAddr is where the callers send from.
	CallersAddr = netip.MustParseAddr("10.77.0.1")
	// OriginAddr is where the relay and its backends listen.
	OriginAddr = netip.MustParseAddr("10.77.0.2")
)

// OriginDevice is the origin's link to the callers.
const OriginDevice = "veth0"

// Lab owns two namespaces, those that were added to them, and all processes in them.
type Lab struct {
	Callers *Namespace
	Origin  *Namespace
	added   []*Namespace
	mark    string // begins the names of its namespaces
}

// labs counts those of this process, so that several may be open.
var labs atomic.Uint32

// Open builds a lab, after sweeping those of dead processes.
func Open() (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("open lab: network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return nil, errors.New("open lab: the program ip (package iproute2) is not installed")
	}
	if _, err := Sweep(); err != nil {
		return nil, err
	}
	owner, err := ownMark()
	if err != nil {
		return nil, err
	}
	l := &Lab{mark: fmt.Sprintf("%s%s-%d", namespacePrefix, owner, labs.Add(1))}
	if err := l.build(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build() (err error) {
	if l.Callers, err = addNamespace(l.mark + "callers"); err != nil {
		return err
	}
	if l.Origin, err = addNamespace(l.mark + "origin"); err != nil {
		return err
	}
	a, b := l.Callers.Name, l.Origin.Name
	for _, line := range []string{
		"link add veth0 netns " + a + " type veth peer name " + OriginDevice + " netns " + b,
		"-n " + a + " addr add " + CallersAddr.String() + "/24 dev veth0",
		"-n " + b + " addr add " + OriginAddr.String() + "/24 dev " + OriginDevice,
		"-n " + a + " link set lo up",
		"-n " + b + " link set lo up",
		"-n " + a + " link set veth0 up",
		"-n " + b + " link set " + OriginDevice + " up",
	} {
		if err := ip(strings.Fields(line)...); err != nil {
			return err
		}
	}
	// A flow per caller port: the default of 28,000 would not do for
	// thousands of callers with several ports each.
	return l.Callers.SetSysctl("net.ipv4.ip_local_port_range", "1024 65535")
}

// Add makes another namespace, for a role that no other has. It is not connected to any.
func (l *Lab) Add(role string) (*Namespace, error) {
	n, err := addNamespace(l.mark + role)
	if err != nil {
		return nil, err
	}
	l.added = append(l.added, n)
	return n, nil
}

// Close ends the processes and removes the namespaces.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range append([]*Namespace{l.Callers, l.Origin}, l.added...) {
		if n != nil {
			errs = append(errs, n.close())
		}
	}
	return errors.Join(errs...)
}

func ip(args ...string) error {
	out, err := clocale.Command("ip", args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
