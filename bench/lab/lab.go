//go:build linux

package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

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

// Lab owns two namespaces and all processes in them.
type Lab struct {
	Callers *Namespace
	Origin  *Namespace
}

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
	mark, err := ownMark()
	if err != nil {
		return nil, err
	}
	l := &Lab{}
	if err := l.build(mark); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) build(mark string) (err error) {
	if l.Callers, err = addNamespace(namespacePrefix + mark + "-callers"); err != nil {
		return err
	}
	if l.Origin, err = addNamespace(namespacePrefix + mark + "-origin"); err != nil {
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

// Close ends the processes and removes the namespaces.
func (l *Lab) Close() error {
	var errs []error
	for _, n := range []*Namespace{l.Callers, l.Origin} {
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
