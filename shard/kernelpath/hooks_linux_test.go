package kernelpath

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
)

// refresh refreshes the hooks, and checks what has changed.
func refresh(t *testing.T, n *namespace, p *Path, want ...string) {
	t.Helper()
	n.do(t, func() error {
		changes, err := p.hooks.refresh()
		if !slices.Equal(changes, want) {
			t.Errorf("changes %q, want %q", changes, want)
		}
		return err
	})
}

// devices names the devices that the program is attached to.
func devices(t *testing.T, p *Path) string {
	t.Helper()
	all, err := p.Devices()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range all {
		if d.Err == nil {
			names = append(names, d.Name)
		} else {
			names = append(names, "not "+d.Name)
		}
	}
	return strings.Join(names, " ")
}

// change calls fn on a device.
func (n *namespace) change(t testing.TB, name string, fn func(netlink.Link) error) {
	t.Helper()
	n.do(t, func() error {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = fn(l)
		}
		return err
	})
}

func addAddress(s string) func(netlink.Link) error {
	return func(l netlink.Link) error { return setUp(l, s) }
}

func removeAddress(s string) func(netlink.Link) error {
	return func(l netlink.Link) error {
		a, err := netlink.ParseAddr(s)
		return errors.Join(err, netlink.AddrDel(l, a))
	}
}

func TestHooksFollowDevices(t *testing.T) {
	n := newNamespace(t)
	p := n.open(t)
	refresh(t, n, p)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	refresh(t, n, p, "attached to eth")
	refresh(t, n, p)
	if got := devices(t, p); got != "lo eth" {
		t.Errorf("devices %s", got)
	}
	n.change(t, "eth", addAddress("192.0.2.2/24"))
	n.change(t, "eth", removeAddress("192.0.2.1/24"))
	n.change(t, "eth", addAddress("192.0.2.3/24")) // the last but one may have gone with it
	refresh(t, n, p)
	n.change(t, "eth", func(l netlink.Link) error { return netlink.LinkSetName(l, "wan") })
	refresh(t, n, p)
	if got := devices(t, p); got != "lo wan" {
		t.Errorf("devices %s", got)
	}
	n.addDevice(t, &netlink.Tuntap{LinkAttrs: named("tunnel"), Mode: netlink.TUNTAP_MODE_TUN}, "10.8.0.1/24")
	n.addDevice(t, &netlink.Bridge{LinkAttrs: named("bridge")}, "10.9.0.1/24")
	refresh(t, n, p, "not attached to tunnel: its packets have no Ethernet header", "attached to bridge")
	refresh(t, n, p)
	n.change(t, "bridge", removeAddress("10.9.0.1/24"))
	n.change(t, "bridge", netlink.LinkSetDown) // takes the IPv6 address away
	refresh(t, n, p, "detached from bridge")
	n.change(t, "tunnel", netlink.LinkDel)
	refresh(t, n, p)
	n.change(t, "wan", netlink.LinkDel)
	refresh(t, n, p, "detached from wan")
	n.addDevice(t, pair("wan"), "192.0.2.1/24")
	refresh(t, n, p, "attached to wan")
}

// What an operator detaches by hand is attached again.
func TestHookDetachedByHand(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	p := n.open(t)
	for _, name := range []string{"lo", "eth"} {
		n.do(t, func() error { return p.hooks.attached[mustIndex(name)].link.Detach() })
		refresh(t, n, p, "detached from "+name, "attached to "+name)
		refresh(t, n, p)
	}
}

// mustIndex returns the index of a device of the thread's namespace.
func mustIndex(name string) int {
	l, err := netlink.LinkByName(name)
	if err != nil {
		panic(err)
	}
	return l.Attrs().Index
}

// foreign attaches a program of somebody else, that lets all pass.
func foreign(t *testing.T, n *namespace, name string, anchor link.Anchor) (id ebpf.ProgramID, l link.Link, err error) {
	t.Helper()
	n.do(t, func() error {
		program, err2 := ebpf.NewProgram(&ebpf.ProgramSpec{
			Type: ebpf.SchedCLS, License: "MIT",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, next), asm.Return()},
		})
		if err2 != nil {
			return err2
		}
		defer program.Close()
		id, _ = must(program.Info()).ID()
		l, err = link.AttachTCX(link.TCXOptions{
			Interface: mustIndex(name), Program: program, Attach: ebpf.AttachTCXIngress, Anchor: anchor,
		})
		return nil
	})
	if err == nil {
		t.Cleanup(func() { _ = l.Close() })
	}
	return id, l, err
}

// The program goes before those that are there. Others may go before it later.
func TestHookBesideOthers(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	first, _, _ := foreign(t, n, "eth", link.Head())
	p := n.open(t)
	ours, _ := must(p.objects.Relay.Info()).ID()
	order := func(want ...ebpf.ProgramID) {
		t.Helper()
		n.do(t, func() error {
			all, err := link.QueryPrograms(link.QueryOptions{Target: mustIndex("eth"), Attach: ebpf.AttachTCXIngress})
			if err != nil {
				return err
			}
			var got []ebpf.ProgramID
			for _, one := range all.Programs {
				got = append(got, one.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("programs %v, want %v", got, want)
			}
			return nil
		})
	}
	order(ours, first)
	ahead, other, _ := foreign(t, n, "eth", link.Head())
	behind, _, _ := foreign(t, n, "eth", link.Tail())
	refresh(t, n, p)
	order(ahead, ours, first, behind)
	_ = other.Close()
	order(ours, first, behind)
}

// A device that takes no more programs is reported once, and tried again.
func TestHookNotAttached(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	var last link.Link
	for {
		_, l, err := foreign(t, n, "eth", link.Tail())
		if err != nil {
			break // there are BPF_MPROG_MAX
		}
		last = l
	}
	p := n.open(t)
	if got := devices(t, p); got != "lo not eth" {
		t.Errorf("devices %s", got)
	}
	refresh(t, n, p)
	_ = last.Close()
	refresh(t, n, p, "attached to eth")
	if got := devices(t, p); got != "lo eth" {
		t.Errorf("devices %s", got)
	}
}

// The counters of a device end with it: else there would be no space for those of new ones.
func TestReasonsOfDevicesThatAreGone(t *testing.T) {
	r := newRig(t)
	e := r.enter(session4(), toLoopback(), r.near())
	r.shard.Way(e.Place, 0).SetOff()
	r.run(frameOf(e.Caller, e.Front, plainData), skb{}, 0)
	count := func() (n int) {
		var key uint32
		var counts []uint64
		for all := r.objects.Reasons.Iterate(); all.Next(&key, &counts); {
			n++
		}
		return n
	}
	if n := count(); n != 1 {
		t.Fatalf("%d counters", n)
	}
	r.n.change(t, "eth", netlink.LinkDel)
	refresh(t, r.n, r.Path, "detached from eth")
	if n := count(); n != 0 {
		t.Errorf("%d counters of a device that is gone", n)
	}
}

// follow runs Follow, and returns how many times it has had sessions rerouted.
func follow(t *testing.T, n *namespace, p *Path, reroute func()) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.enter(t)
		p.Follow(ctx, func(context.Context) error {
			reroute()
			return nil
		})
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
