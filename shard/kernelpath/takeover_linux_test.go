package kernelpath

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"srtrelay/internal/supervise"
)

// takeOver opens a path with the descriptors of another one, which is frozen.
func (n *namespace) takeOver(t testing.TB, old *Path, change ...func(*Config)) *Path {
	t.Helper()
	old.Freeze()
	return n.open(t, append(change, func(c *Config) {
		c.Adopt, c.Shards = old.Files(), old.cfg.Shards
	})...)
}

// programsAt returns the programs attached to a device.
func (n *namespace) programsAt(t testing.TB, device string, kind ebpf.AttachType) (ids []ebpf.ProgramID) {
	t.Helper()
	index := n.index(t, device)
	n.do(t, func() error {
		all, err := link.QueryPrograms(link.QueryOptions{Target: index, Attach: kind})
		if err != nil {
			return err
		}
		for _, p := range all.Programs {
			ids = append(ids, p.ID)
		}
		return nil
	})
	return ids
}

// wantAttached checks that a path's program, and no other, is attached to lo and eth.
func wantAttached(t testing.TB, n *namespace, p *Path) {
	t.Helper()
	info, err := p.objects.Relay.Info()
	if err != nil {
		t.Fatal(err)
	}
	want, _ := info.ID()
	for device, kind := range map[string]ebpf.AttachType{"lo": ebpf.AttachTCXEgress, "eth": ebpf.AttachTCXIngress} {
		if ids := n.programsAt(t, device, kind); len(ids) != 1 || ids[0] != want {
			t.Errorf("programs %v at %s, want %d", ids, device, want)
		}
	}
}

// A process takes the path over: maps, places and links are the same, its program runs from
// Start on, and nothing changes before.
func TestTakeOver(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	old := n.open(t, func(c *Config) { c.Shards, c.Places = 2, 100 })
	id := mapID(t, old)
	p := n.takeOver(t, old, func(c *Config) { c.Places = 5000 })
	wantAttached(t, n, old)
	if mapID(t, p) != id || p.Shard(0).Places() != 100 || p.Shard(1).base != 100 || !p.Adopted() {
		t.Errorf("map %d, want %d; %d places", mapID(t, p), id, p.Shard(0).Places())
	}
	p.Start()
	wantAttached(t, n, p)
	old.Release()
	refresh(t, n, p)
	wantAttached(t, n, p)
	if got := devices(t, p); got != "lo eth" {
		t.Errorf("devices %s", got)
	}
	p.Close()
	if ids := n.programsAt(t, "eth", ebpf.AttachTCXIngress); len(ids) != 0 {
		t.Errorf("programs %v after the end", ids)
	}
}

func mapID(t testing.TB, p *Path) ebpf.MapID {
	t.Helper()
	info, err := p.objects.Ways.Info()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := info.ID()
	return id
}

// Before Start the process that gives goes on as if nothing had been.
func TestTakeOverThatEndsBeforeStart(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	old := n.open(t)
	n.takeOver(t, old).Close()
	old.Unfreeze()
	old.Unfreeze() // harmless
	wantAttached(t, n, old)
	if old.Shard(0).Reclaims() != 0 {
		t.Error("the path was taken back")
	}
}

// After Start the process that resumes takes the path back: with its program, and without
// an entry.
func TestTakeOverThatIsTakenBack(t *testing.T) {
	r := newRig(t)
	for _, e := range []Session{session4(), session6()} {
		e = r.enter(e, toLoopback(), r.near())
		p := r.n.takeOver(t, r.Path)
		p.Start()
		other := e
		other.Place, other.CallerID, other.BackendID = 1, callerID+1, backendID+1
		if err := p.Shard(0).put(&other, toLoopback(), r.near()); err != nil {
			t.Fatal(err)
		}
		before := r.Shard(0).Reclaims()
		p.Release()
		r.Unfreeze()
		wantAttached(t, r.n, r.Path)
		if r.Shard(0).Reclaims() != before+1 {
			t.Error("the shards do not notice")
		}
		for _, one := range []Session{e, other} {
			in := frameOf(one.Caller, one.Front, dataOf(1, plain, one.BackendID, 100))
			if action, _ := r.run(in, skb{}, 0); action != next {
				t.Errorf("a datagram of a session that the other process left passes: %d", action)
			}
		}
	}
}

// A process that takes sessions over without the path detaches the program. If it ends, the
// one that resumes attaches it again.
func TestEvict(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	old := n.open(t)
	old.Freeze()
	if err := Evict(old.Files()); err != nil {
		t.Error(err)
	}
	if ids := n.programsAt(t, "eth", ebpf.AttachTCXIngress); len(ids) != 0 {
		t.Errorf("programs %v", ids)
	}
	old.Unfreeze()
	if old.Shard(0).Reclaims() != 1 {
		t.Error("the shards do not notice")
	}
	refresh(t, n, old, "attached to lo", "attached to eth")
	wantAttached(t, n, old)
}

// A path that does not fit is refused, and the process that has it goes on.
func TestTakeOverThatDoesNotFit(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	old := n.open(t, func(c *Config) { c.Shards = 2 })
	foreign, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	without := func(name string) func(*Config) {
		return func(c *Config) {
			c.Adopt = withoutFile(old.Files(), name)
		}
	}
	layout := old.memory.control.Layout
	for name, c := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no file": {func(c *Config) { c.Adopt = []File{} }, "no map"},
		"shards":  {func(c *Config) { c.Shards = 3 }, "it has 2 shards, this process 3"},
		"no map":  {without("map reasons"), "it has no map reasons"},
		"no ring": {without("ring 1"), "it has no ring 1"},
		"no lo":   {without("link lo"), "not attached to lo"},
		"foreign controls": {
			func(c *Config) { c.Adopt = withFile(old.Files(), "map controls", foreign.FD()) }, "its maps are of version 0, this program's of version 4",
		},
		"foreign map": {func(c *Config) { c.Adopt = withFile(old.Files(), "map reasons", foreign.FD()) }, "Type: Array changed"},
		"foreign ring": {
			func(c *Config) { c.Adopt = withFile(old.Files(), "ring 0", foreign.FD()) }, "it has no ring 0, or one of another size",
		},
		"ring twice":  {func(c *Config) { c.Adopt = append(old.Files(), File{"ring 0", old.rings[0].FD()}) }, "it has a ring 0"},
		"unknown map": {func(c *Config) { c.Adopt = append(old.Files(), File{"map lost", foreign.FD()}) }, "it has a map lost"},
		"layout":      {func(*Config) { old.memory.control.Layout++ }, "its maps are of version 5, this program's of version 4"},
	} {
		t.Run(name, func(t *testing.T) {
			defer func() { old.memory.control.Layout = layout }()
			old.Freeze()
			before := openFiles(t)
			cfg := Config{Shards: 2, Places: 64, Adopt: old.Files(), Log: slog.New(slog.DiscardHandler)}
			c.change(&cfg)
			n.do(t, func() error {
				p, err := Open(cfg)
				if p != nil || !errors.Is(err, ErrMismatch) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error %v, want %q", err, c.want)
				}
				return nil
			})
			if after := openFiles(t); after > before {
				t.Errorf("%d descriptors, before %d", after, before)
			}
			old.Unfreeze()
			wantAttached(t, n, old)
		})
	}
	if old.Shard(0).Reclaims() != 0 {
		t.Error("the path was taken back")
	}
}

func withoutFile(files []File, name string) (left []File) {
	for _, f := range files {
		if f.Name != name {
			left = append(left, f)
		}
	}
	return left
}

func withFile(files []File, name string, fd int) []File {
	return append(withoutFile(files, name), File{name, fd})
}

// Fifty take-overs leave no descriptor, mapping, program or goroutine behind.
func TestTakeOversLeaveNothingBehind(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	p := n.open(t, func(c *Config) { c.Shards = 2 })
	id := mapID(t, p)
	run := func() {
		stop := follow(t, n, p, func() {})
		p.Shard(1).Read(1, func(*Record) {})
		fresh := n.takeOver(t, p)
		fresh.Start()
		stop()
		p.Release()
		p = fresh
	}
	run()
	files, mappings, goroutines := openFiles(t), bpfMappings(t), runtime.NumGoroutine()
	for range 50 {
		run()
	}
	if n := openFiles(t); n > files {
		t.Errorf("%d descriptors, before %d", n, files)
	}
	if n := bpfMappings(t); n > mappings {
		t.Errorf("%d mappings, before %d", n, mappings)
	}
	if n := runtime.NumGoroutine(); n > goroutines {
		t.Errorf("%d goroutines, before %d", n, goroutines)
	}
	if mapID(t, p) != id {
		t.Error("the maps are others")
	}
	wantAttached(t, n, p)
	p.Close()
	awaitNoMap(t, id)
}

// awaitNoMap waits until nothing refers to a map any more.
func awaitNoMap(t *testing.T, id ebpf.MapID) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		m, err := ebpf.NewMapFromID(id)
		if errors.Is(err, os.ErrNotExist) {
			return
		}
		if err == nil {
			_ = m.Close()
		}
		if time.Now().After(end) {
			t.Fatalf("map %d stays (%v)", id, err)
		}
	}
}

// bpfMappings counts the mappings of maps in this process, which keep them alive.
func bpfMappings(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Count(text, []byte("bpf"))
}

// A change that Follow was about to handle when it was frozen is handled afterwards, by the
// process that takes over or by the one that resumes; datagrams go up until then.
func TestFreezeWithinChange(t *testing.T) {
	for name, takeOver := range map[string]bool{"resumed": false, "taken over": true} {
		t.Run(name, func(t *testing.T) {
			n := newRoutes(t)
			p := n.open(t)
			rerouted := make(chan bool, 100)
			entered := make(chan struct{})
			hang := true
			stop := followWith(t, n, p, func(ctx context.Context) error {
				if hang {
					hang = false
					p.freeze.change() // handled when this has returned
					return nil
				}
				select {
				case <-entered:
				default:
					close(entered)
					<-ctx.Done() // what Freeze interrupts
					return ctx.Err()
				}
				rerouted <- p.memory.control.Paused == 1
				return nil
			})
			<-entered
			p.Freeze()
			if p.memory.control.Paused != 1 {
				t.Error("datagrams pass while routes are not resolved")
			}
			if !takeOver {
				p.Unfreeze()
			} else {
				old, stopOld := p, stop
				p = n.takeOver(t, old)
				p.Start()
				stopOld()
				old.Release()
				stop = follow(t, n, p, func() { rerouted <- p.memory.control.Paused == 1 })
			}
			if !<-rerouted {
				t.Error("datagrams pass while routes are resolved")
			}
			awaitPaused(t, p, 0)
			stop()
		})
	}
}

func awaitPaused(t *testing.T, p *Path, want uint32) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); p.memory.control.Paused != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("paused is not %d", want)
		}
	}
}

// What changes on the host while a path is frozen is handled afterwards, and not before.
func TestFreezeBeforeChange(t *testing.T) {
	n := newRoutes(t)
	p := n.open(t)
	rerouted := make(chan struct{}, 100)
	stop := follow(t, n, p, func() { rerouted <- struct{}{} })
	defer stop()
	<-rerouted // at the start
	p.Freeze()
	n.do(t, func() error {
		return netlink.RouteReplace(&netlink.Route{Dst: ipNet("198.51.100.0/24"), Gw: []byte{192, 0, 2, 250}})
	})
	select {
	case <-rerouted:
		t.Error("a change is handled while the path is frozen")
	case <-time.After(3 * settle):
	}
	p.Unfreeze()
	<-rerouted
}

// The rights that a running relay has suffice to take the path over.
func TestTakeOverWithFewRights(t *testing.T) {
	n := newNamespace(t)
	n.addDevice(t, pair("eth"), "192.0.2.1/24")
	old := n.open(t)
	old.Freeze()
	done := make(chan error)
	go func() {
		n.enter(t) // for good: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		data := [2]unix.CapUserData{}
		const both uint64 = 1<<unix.CAP_BPF | 1<<unix.CAP_NET_ADMIN
		for i := range data {
			word := uint32(both >> (32 * i))
			data[i] = unix.CapUserData{Effective: word, Permitted: word}
		}
		if err := unix.Capset(&header, &data[0]); err != nil {
			done <- err
			return
		}
		log := slog.New(slog.DiscardHandler)
		p, err := Open(Config{Shards: 1, Places: 4, Adopt: old.Files(), Log: log, Supervisor: supervise.New(log)})
		if err == nil {
			p.Start()
			p.Release()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Errorf("%+v", err)
	}
}
