package kernelpath

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
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

// A COMPLETE checksum matters to devices whose packets are received on this host, and to
// what stands upon such a device.
func TestVirtualDevices(t *testing.T) {
	all := map[int]netlink.Link{}
	add := func(index int, l netlink.Link, change func(*netlink.LinkAttrs)) {
		a := l.Attrs()
		a.Index = index
		if change != nil {
			change(a)
		}
		all[index] = l
	}
	on := func(parent int) func(*netlink.LinkAttrs) {
		return func(a *netlink.LinkAttrs) { a.ParentIndex = parent }
	}
	of := func(master int) func(*netlink.LinkAttrs) {
		return func(a *netlink.LinkAttrs) { a.MasterIndex = master }
	}
	add(2, &netlink.Device{LinkAttrs: named("card")}, of(4))
	add(3, &netlink.Device{LinkAttrs: named("card too")}, of(4))
	add(4, netlink.NewLinkBond(named("bond of cards")), nil)
	add(5, &netlink.Vlan{LinkAttrs: named("VLAN of a bond of cards")}, on(4))
	add(6, &netlink.Vlan{LinkAttrs: named("VLAN in the VLAN")}, on(5))
	add(12, &netlink.Veth{LinkAttrs: named("veth")}, of(14))
	add(13, &netlink.Device{LinkAttrs: named("third card")}, of(14))
	add(14, netlink.NewLinkBond(named("bond with a veth")), nil)
	add(15, &netlink.Vlan{LinkAttrs: named("VLAN of it")}, on(14))
	add(16, netlink.NewLinkBond(named("bond of none")), nil)
	add(17, &netlink.Bridge{LinkAttrs: named("bridge")}, nil)
	add(18, &netlink.Macvlan{LinkAttrs: named("macvlan")}, on(2))
	add(19, &netlink.Vlan{LinkAttrs: named("VLAN of a card elsewhere")}, func(a *netlink.LinkAttrs) { a.ParentIndex, a.NetNsID = 2, 7 })
	add(20, &netlink.Vlan{LinkAttrs: named("VLAN of itself")}, on(20))
	for index, l := range all {
		if got := isVirtual(all, l, stackMost); got != (index > 10 && index != 13) {
			t.Errorf("%s: virtual is %v", l.Attrs().Name, got)
		}
	}
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

// foreign attaches a program of somebody else, that lets all pass, where the path has its own.
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
		kind := ebpf.AttachTCXIngress
		if name == "lo" {
			kind = ebpf.AttachTCXEgress
		}
		l, err = link.AttachTCX(link.TCXOptions{
			Interface: mustIndex(name), Program: program, Attach: kind, Anchor: anchor,
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

// A host has space for so many relays with a path. The next one is told why it has none.
func TestHookOfLoopbackFull(t *testing.T) {
	n := newNamespace(t)
	var others []link.Link
	for {
		_, l, err := foreign(t, n, "lo", link.Tail())
		if err != nil {
			break
		}
		others = append(others, l)
	}
	if len(others) != hookMost {
		t.Errorf("%d programs, want %d", len(others), hookMost)
	}
	open := func() (err error) {
		n.do(t, func() error {
			var p *Path
			if p, err = Open(Config{Shards: 1, Places: 1}); err == nil {
				p.Close()
			}
			return nil
		})
		return err
	}
	if err := open(); err == nil || errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "lo has 63 programs of others") {
		t.Errorf("error %v", err)
	}
	_ = others[0].Close()
	if err := open(); err != nil {
		t.Error(err)
	}
}
