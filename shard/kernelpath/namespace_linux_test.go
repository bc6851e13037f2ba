package kernelpath

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/internal/need"
	"srtrelay/internal/supervise"
)

// namespace is a network namespace and the thread that lives in it.
type namespace struct {
	jobs chan func()
	gone chan struct{}
	fd   int
}

// newNamespace returns a network namespace of the test's own, with lo up.
func newNamespace(t testing.TB) *namespace {
	t.Helper()
	need.Root(t, "a network namespace")
	n := &namespace{jobs: make(chan func()), gone: make(chan struct{})}
	ready := make(chan error)
	go n.live(ready)
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(n.jobs)
		<-n.gone
	})
	return n
}

// live runs the jobs. The thread is not unlocked, so that it ends with its goroutine.
func (n *namespace) live(ready chan<- error) {
	defer close(n.gone)
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		ready <- fmt.Errorf("unshare: %w", err)
		return
	}
	var err error
	if n.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		ready <- err
		return
	}
	defer unix.Close(n.fd)
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	ready <- err
	for job := range n.jobs {
		job()
	}
}

// do runs fn in the namespace, where it must not end the test.
func (n *namespace) do(t testing.TB, fn func() error) {
	t.Helper()
	done := make(chan error)
	n.jobs <- func() { done <- fn() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// enter moves a goroutine of a test into the namespace for good.
func (n *namespace) enter(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Setns(n.fd, unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// addDevice adds a device with addresses such as 192.0.2.1/24, and sets it up.
func (n *namespace) addDevice(t testing.TB, l netlink.Link, addresses ...string) {
	t.Helper()
	n.do(t, func() error {
		if err := netlink.LinkAdd(l); err != nil {
			return fmt.Errorf("add %s: %w", l.Attrs().Name, err)
		}
		return setUp(l, addresses...)
	})
}

// setUp gives a device of the thread's namespace addresses and sets it up.
func setUp(l netlink.Link, addresses ...string) error {
	for _, s := range addresses {
		a, err := netlink.ParseAddr(s)
		if err != nil {
			return err
		}
		a.Flags |= unix.IFA_F_NODAD
		if err := netlink.AddrAdd(l, a); err != nil {
			return fmt.Errorf("add %s: %w", s, err)
		}
	}
	return netlink.LinkSetUp(l)
}

// addVeth adds a pair of devices, one of them in another namespace.
func (n *namespace) addVeth(t testing.TB, name string, addresses []string, other *namespace, otherAddresses []string) {
	t.Helper()
	peer := name + "-peer"
	n.addDevice(t, &netlink.Veth{
		LinkAttrs: named(name), PeerName: peer, PeerNamespace: netlink.NsFd(other.fd),
	}, addresses...)
	other.do(t, func() error {
		l, err := netlink.LinkByName(peer)
		return errors.Join(err, setUp(l, otherAddresses...))
	})
}

func named(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// pair is a pair of devices in one namespace; the other one is down.
func pair(name string) netlink.Link {
	return &netlink.Veth{LinkAttrs: named(name), PeerName: name + "-peer"}
}

// index returns the index of a device.
func (n *namespace) index(t testing.TB, name string) (index int) {
	t.Helper()
	n.do(t, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			index = l.Attrs().Index
		}
		return err
	})
	return index
}

// open opens a path of one shard with so many places in the namespace.
func (n *namespace) open(t testing.TB, change ...func(*Config)) *Path {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cfg := Config{Shards: 1, Places: 64, Log: log, Supervisor: supervise.New(log)}
	for _, fn := range change {
		fn(&cfg)
	}
	var p *Path
	n.do(t, func() (err error) {
		p, err = Open(cfg)
		return err
	})
	t.Cleanup(p.Close)
	return p
}

func ipNet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}
