package kernelpath

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

// follow runs Follow, with a function that has sessions rerouted.
func follow(t *testing.T, n *namespace, p *Path, reroute func()) (stop func()) {
	t.Helper()
	return followWith(t, n, p, func(context.Context) error {
		reroute()
		return nil
	})
}

func followWith(t *testing.T, n *namespace, p *Path, reroute func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.enter(t)
		p.Follow(ctx, reroute)
	}()
	return func() {
		cancel()
		<-done
	}
}

func TestFollow(t *testing.T) {
	var out lines
	n := newRoutes(t)
	p := n.open(t, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&out, nil)) })
	rerouted := make(chan bool, 100)
	stop := follow(t, n, p, func() { rerouted <- p.memory.control.Paused == 1 })
	defer stop()
	if <-rerouted {
		t.Error("datagrams go up though nothing has changed")
	}
	for name, change := range map[string]func() error{
		"route": func() error {
			return netlink.RouteReplace(&netlink.Route{Dst: ipNet("198.51.100.0/24"), Gw: []byte{192, 0, 2, 250}})
		},
		"rule": func() error {
			r := netlink.NewRule()
			r.Priority, r.Table, r.Src = 100, 100, ipNet("10.77.0.0/16")
			return netlink.RuleAdd(r)
		},
		"address": func() error { return setUp(must(netlink.LinkByName("eth")), "192.0.2.77/24") },
		"device":  func() error { return netlink.LinkAdd(pair("new")) },
		"MTU":     func() error { return netlink.LinkSetMTU(must(netlink.LinkByName("eth")), 1400) },
	} {
		before := p.epoch.Load()
		// Until Follow listens nothing is noticed, so that the change is made again.
		for noticed := false; !noticed; {
			n.do(t, func() error { return ignoreExists(change()) })
			select {
			case paused := <-rerouted:
				noticed = true
				if !paused {
					t.Errorf("%s: datagrams pass while routes are resolved", name)
				}
			case <-time.After(2 * time.Second):
			}
		}
		if p.epoch.Load() == before {
			t.Errorf("%s: the routes are of the same epoch", name)
		}
	}
	n.change(t, "new", addAddress("10.9.9.1/24"))
	<-rerouted
	stop()
	if log := out.String(); strings.Count(log, "\n") != 1 || !strings.Contains(log, "attached to new") {
		t.Errorf("log:\n%s", log)
	}
	if p.memory.control.Paused != 0 || p.pauses != 0 {
		t.Errorf("paused %d times after the end", p.pauses)
	}
	if d := (*p.hooks.devices.Load())[n.index(t, "eth")]; d.mtu != 1400 {
		t.Errorf("the MTU is %d", d.mtu)
	}
}

func ignoreExists(err error) error {
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	return err
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A path leaves no goroutine, descriptor or program behind, whether it has been opened or
// not.
func TestNothingIsLeftBehind(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	n.open(t).Close() // has descriptors opened that stay
	ignore := goleak.IgnoreCurrent()
	before := openFiles(t)
	p := n.open(t, func(c *Config) { c.Shards = 3 })
	stop := follow(t, n, p, func() {})
	for k := range 3 {
		_, _, _ = p.Shard(k).resolve(ip("127.0.0.1"), [16]byte{})
		p.Shard(k).Read(1, func(*Record) {})
	}
	stop()
	p.Close()
	p.Close() // harmless, as the test's own
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors, before %d", after, before)
	}
	goleak.VerifyNone(t, ignore)
	n.do(t, func() error {
		all, err := link.QueryPrograms(link.QueryOptions{Target: mustIndex("eth"), Attach: ebpf.AttachTCXIngress})
		if err == nil && len(all.Programs) != 0 {
			t.Errorf("%d programs stay attached", len(all.Programs))
		}
		return err
	})
}

func openFiles(t *testing.T) int {
	t.Helper()
	runtime.GC() // closes what only waits for a finalizer
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
