package kernelpath

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// loopback is the index of lo in every network namespace (LOOPBACK_IFINDEX, Linux 3.7).
const loopback = 1

// device is what the path knows of a network device.
type device struct {
	name string
	mtu  int
	// ethernet says that frames have an Ethernet header, virtual that the device checks a
	// COMPLETE checksum (see the program), owner that it has an address.
	ethernet, virtual, owner bool
}

// hook is the program at one device.
type hook struct {
	link link.Link
	name string
	err  error // why it is not attached
}

// hooks are the devices that the program is attached to: the ingress of all that have an
// address, and the egress of lo.
type hooks struct {
	program *ebpf.Program
	reasons *ebpf.Map
	handle  *netlink.Handle
	devices atomic.Pointer[map[int]device]

	// changes counts the changes of attached.
	changes atomic.Uint64

	mu       sync.Mutex
	attached map[int]hook
}

// open attaches the program. That of lo must succeed: it shows that the kernel can. With
// Config.Adopt it takes over what is attached.
func (h *hooks) open(p *Path) (err error) {
	h.program, h.reasons, h.attached = p.objects.Relay, p.objects.Reasons, make(map[int]hook)
	if h.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("open netlink socket: %w", err)
	}
	if p.Adopted() {
		devices, err := h.listDevices()
		if err != nil {
			return err
		}
		h.devices.Store(&devices)
		return h.adopt(p.cfg.Adopt)
	}
	if _, err = h.refresh(); err != nil {
		return err
	}
	return h.attached[loopback].err
}

// refresh reads the host's devices, attaches the program to those that have become owners
// of an address, and detaches it from those that are none any more. It returns what has
// changed, for the log.
func (h *hooks) refresh() (changes []string, err error) {
	devices, err := h.listDevices()
	if err != nil {
		return nil, err
	}
	h.devices.Store(&devices)
	h.mu.Lock()
	defer h.mu.Unlock()
	defer func() {
		if len(changes) > 0 {
			h.changes.Add(1)
		}
	}()
	for index, old := range h.attached {
		d, exists := devices[index]
		if exists && d.hooked(index) && (old.link == nil || isAttached(old.link)) {
			old.name = d.name // it may have been renamed
			h.attached[index] = old
			continue
		}
		if old.link != nil {
			changes = append(changes, "detached from "+old.name)
		}
		old.detach()
		delete(h.attached, index)
		if !exists {
			h.forget(index)
		}
	}
	for _, index := range slices.Sorted(maps.Keys(devices)) {
		d := devices[index]
		old, has := h.attached[index]
		if !d.hooked(index) || has && old.err == nil {
			continue
		}
		one := h.attach(index, d)
		h.attached[index] = one
		switch {
		case one.err == nil:
			changes = append(changes, "attached to "+d.name)
		case !has || one.err.Error() != old.err.Error():
			changes = append(changes, fmt.Sprintf("not attached to %s: %v", d.name, one.err))
		}
	}
	return changes, nil
}

// hooked reports whether the program belongs to a device.
func (d device) hooked(index int) bool { return index == loopback || d.owner }

// errNoEthernet says that the program cannot read a device's packets.
var errNoEthernet = errors.New("its packets have no Ethernet header")

// attach attaches the program before those of others: one that accepts a datagram hides
// it from those behind.
func (h *hooks) attach(index int, d device) hook {
	kind := ebpf.AttachTCXIngress
	switch {
	case index == loopback:
		kind = ebpf.AttachTCXEgress
	case !d.ethernet:
		return hook{name: d.name, err: errNoEthernet}
	}
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: index, Program: h.program, Attach: kind, Anchor: link.Head(),
	})
	return hook{link: l, name: d.name, err: err}
}

// isAttached reports whether a link still has its device.
func isAttached(l link.Link) bool {
	_, attached := deviceOf(l)
	return attached
}

// forget deletes the counters of a device that is gone: the table has space for those of
// some 400, and a host of containers sees many more.
func (h *hooks) forget(index int) {
	for reason := range reasonNames {
		_ = h.reasons.Delete(uint32(index<<8 | reason)) // there are only those that have counted
	}
}

func (o hook) close() {
	if o.link != nil {
		_ = o.link.Close()
	}
}

func (h *hooks) listDevices() (map[int]device, error) {
	links, err := h.handle.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	addresses, err := h.handle.AddrList(nil, unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	byIndex := make(map[int]netlink.Link, len(links))
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	devices := make(map[int]device, len(links))
	for index, l := range byIndex {
		a := l.Attrs()
		devices[index] = device{
			name: a.Name, mtu: a.MTU, ethernet: a.EncapType == "ether", virtual: isVirtual(byIndex, l, stackMost),
		}
	}
	for i := range addresses {
		if d, ok := devices[addresses[i].LinkIndex]; ok {
			d.owner = true
			devices[addresses[i].LinkIndex] = d
		}
	}
	return devices, nil
}

// stackMost is how many devices may stand upon each other (MAX_NEST_DEV).
const stackMost = 8

// isVirtual reports whether a packet that a device sends may be received on this host, so
// that its COMPLETE checksum is looked at. Network cards do not look at it, and neither do
// VLANs and bonds of them.
func isVirtual(all map[int]netlink.Link, l netlink.Link, most int) bool {
	if most == 0 {
		return true
	}
	a, lower := l.Attrs(), []netlink.Link(nil)
	switch l.Type() {
	case "device":
		return false
	case "vlan":
		if parent := all[a.ParentIndex]; parent != nil && a.NetNsID < 0 {
			lower = append(lower, parent)
		}
	case "bond", "team":
		for _, one := range all {
			if one.Attrs().MasterIndex == a.Index {
				lower = append(lower, one)
			}
		}
	}
	return len(lower) == 0 || slices.ContainsFunc(lower, func(one netlink.Link) bool { return isVirtual(all, one, most-1) })
}

// report returns the devices that the program belongs to, and their places by index.
func (h *hooks) report() (devices []Device, byIndex map[int]int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byIndex = make(map[int]int, len(h.attached))
	for _, index := range slices.Sorted(maps.Keys(h.attached)) {
		one := h.attached[index]
		byIndex[index] = len(devices)
		devices = append(devices, Device{Name: one.name, Err: one.err, Up: make([]uint64, len(reasonNames))})
	}
	return devices, byIndex
}

// close closes the links, and does not detach the program.
func (h *hooks) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.attached {
		one.close()
	}
	clear(h.attached)
	if h.handle != nil {
		h.handle.Close()
	}
}
