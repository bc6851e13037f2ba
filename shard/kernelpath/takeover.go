package kernelpath

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Another process takes the path over while datagrams go on in it:
//
//	running process            new process
//	Freeze, Files, Unfreeze    Open with Config.Adopt
//	Freeze
//	                           Start, when it is to go on
//	Release, or else Unfreeze
//
// Both have the same maps. Up to Start the new process attaches and detaches nothing, and
// writes only where Way.Adopt begins a handover anew, which is no different for the other
// process from a datagram that was lost. It may take its time before the second Freeze.

// ErrMismatch says that the path of a running process does not fit this program.
var ErrMismatch = errors.New("the kernel path of the running process does not fit")

// File is a descriptor of a path: of a map, or of the link to a device.
type File struct {
	// Name says what it is: "map ways", "ring 0", "link eth0".
	Name string
	FD   int
}

// Kinds of files. A name follows.
const (
	fileMap  = "map"
	fileRing = "ring"
	fileLink = "link"
)

// Files returns the descriptors that another process needs to take the path over. They stay
// the path's, and are valid while it is frozen.
func (p *Path) Files() (files []File) {
	for name, m := range p.objects.byName() {
		files = append(files, File{fileMap + " " + name, m.FD()})
	}
	for k, ring := range p.rings {
		files = append(files, File{fmt.Sprintf("%s %d", fileRing, k), ring.FD()})
	}
	files = append(files, p.hooks.files()...)
	slices.SortFunc(files, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return files
}

// PresentFiles is Files of a path that goes on: the descriptors are duplicates, which the
// caller closes.
func (p *Path) PresentFiles() (files []File, err error) {
	if files, err = p.hooks.present(); err != nil {
		return files, err
	}
	add := func(name string, m *ebpf.Map) {
		fd, failed := duplicate(m.FD())
		if failed != nil {
			err = failed
			return
		}
		files = append(files, File{name, fd})
	}
	for name, m := range p.objects.byName() {
		add(fileMap+" "+name, m)
	}
	for k, ring := range p.rings {
		add(fmt.Sprintf("%s %d", fileRing, k), ring)
	}
	return files, err
}

// Changes counts the changes of what PresentFiles returns, which are of links.
func (p *Path) Changes() uint64 { return p.hooks.changed() }

// mapNames are the maps that a process takes over.
var mapNames = []string{
	pathMapControls, pathMapHandovers, pathMapReasons, pathMapRings, pathMapSessions4, pathMapSessions6, pathMapWays,
}

func (m *pathMaps) byName() map[string]*ebpf.Map {
	return map[string]*ebpf.Map{
		pathMapControls: m.Controls, pathMapHandovers: m.Handovers, pathMapReasons: m.Reasons, pathMapRings: m.Rings,
		pathMapSessions4: m.Sessions4, pathMapSessions6: m.Sessions6, pathMapWays: m.Ways,
	}
}

// adopt loads the program with the maps of Config.Adopt.
func (p *Path) adopt() error {
	spec, err := loadPath()
	if err != nil {
		return err
	}
	maps := make(map[string]*ebpf.Map, len(spec.Maps))
	defer func() {
		for _, m := range maps {
			_ = m.Close()
		}
	}()
	p.rings = make([]*ebpf.Map, p.cfg.Shards)
	for _, f := range p.cfg.Adopt {
		kind, name, _ := strings.Cut(f.Name, " ")
		if kind != fileMap && kind != fileRing {
			continue
		}
		m, err := adoptMap(f)
		if err != nil {
			return err
		}
		k, notNumber := strconv.Atoi(name)
		switch {
		case kind == fileMap && slices.Contains(mapNames, name) && maps[name] == nil:
			maps[name] = m
		case kind == fileRing && notNumber == nil && k >= 0 && k < len(p.rings) && p.rings[k] == nil:
			p.rings[k] = m
		default:
			_ = m.Close()
			return fmt.Errorf("%w: it has a %s", ErrMismatch, f.Name)
		}
	}
	if err := p.checkMaps(spec, maps); err != nil {
		return err
	}
	if err := spec.LoadAndAssign(&p.objects, &ebpf.CollectionOptions{MapReplacements: maps}); err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	return nil
}

// adoptMap opens the map of a descriptor, which stays the caller's.
func adoptMap(f File) (*ebpf.Map, error) {
	fd, err := duplicate(f.FD)
	if err != nil {
		return nil, err
	}
	m, err := ebpf.NewMapFromFD(fd)
	if err != nil {
		return nil, fmt.Errorf("take over %s: %w", f.Name, err)
	}
	return m, nil
}

func duplicate(fd int) (int, error) {
	n, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	return n, os.NewSyscallError("fcntl", err)
}

// checkMaps checks the maps of another process, and sets the number of places and the sizes
// by them.
func (p *Path) checkMaps(spec *ebpf.CollectionSpec, maps map[string]*ebpf.Map) error {
	for _, name := range mapNames {
		if maps[name] == nil {
			return fmt.Errorf("%w: it has no map %s", ErrMismatch, name)
		}
	}
	if err := checkLayout(maps[pathMapControls]); err != nil {
		return err
	}
	if n := int(maps[pathMapRings].MaxEntries()); n != p.cfg.Shards {
		return fmt.Errorf("%w: it has %d shards, this process %d", ErrMismatch, n, p.cfg.Shards)
	}
	for k, ring := range p.rings {
		if ring == nil || ring.Type() != ebpf.RingBuf || ring.MaxEntries() != p.rings[0].MaxEntries() {
			return fmt.Errorf("%w: it has no ring %d, or one of another size", ErrMismatch, k)
		}
	}
	places := int(maps[pathMapWays].MaxEntries()) / (2 * p.cfg.Shards)
	if places < p.places {
		p.cfg.Log.Warn("kernel path: space as in the process before, other sessions stay in user space",
			"sessions_per_shard", places, "configured", p.places)
	}
	p.places = places
	p.fit(spec, p.rings[0].MaxEntries())
	for name, m := range maps {
		if err := spec.Maps[name].Compatible(m); err != nil {
			return fmt.Errorf("%w: map %s: %w", ErrMismatch, name, err)
		}
	}
	return nil
}

// checkLayout checks the version of the layout of another process's maps. It is in the same
// place in each version, and comes before the sizes, because it says why they differ.
func checkLayout(controls *ebpf.Map) error {
	const at = int(unsafe.Offsetof(pathControl{}.Layout))
	b, err := controls.LookupBytes(uint32(0))
	if err != nil {
		return fmt.Errorf("%w: map %s: %w", ErrMismatch, pathMapControls, err)
	}
	if len(b) < at+4 {
		return fmt.Errorf("%w: its maps have no version", ErrMismatch)
	}
	if v := binary.NativeEndian.Uint32(b[at:]); v != uint32(pathLayoutLAYOUT) {
		return fmt.Errorf("%w: its maps are of version %d, this program's of version %d", ErrMismatch, v, pathLayoutLAYOUT)
	}
	return nil
}

// sign writes the version of the layout into new maps, and notes whose the path is.
func (p *Path) sign() {
	c := p.memory.control
	if p.cfg.Adopt == nil {
		c.Layout = uint32(pathLayoutLAYOUT)
	}
	p.started, p.owner = !p.Adopted(), atomic.LoadUint32(&c.Owner)
	if p.started {
		p.ownShield()
	}
}

// Adopted reports whether the path has been another process's.
func (p *Path) Adopted() bool { return p.cfg.Adopt != nil }

// Adopted reports whether the path has been another process's, so that its sessions may be
// taken over with Way.Adopt.
func (s *Shard) Adopted() bool { return s.path.Adopted() }

// Start has this process use the path that it has taken over: from here on its program
// runs at the hooks. It must be called before the shards use the path. If they do already, or
// the path has always been this process's, Start does nothing.
func (p *Path) Start() {
	if !p.started {
		p.own()
	}
}

// own makes this process the one that uses the path.
func (p *Path) own() {
	p.started, p.owner = true, atomic.AddUint32(&p.memory.control.Owner, 1)
	p.ownShield()
	for _, problem := range p.hooks.replace() {
		p.cfg.Log.Warn("kernel path: " + problem)
	}
}

// Adopt continues a way of a session of a generation that another process has begun, with
// records if observed. What that process had not handed over yet is handed over anew. False:
// the way is another session's.
func (w Way) Adopt(gen uint32, observed bool, h *Handover) bool {
	if w.Gen() != gen {
		return false
	}
	if w.Mode() == On && w.shared.Observed != bit(observed) {
		w.SetPending() // SetSequence tells the program
	}
	h.Begin(w)
	if w.Mode() == Pending {
		w.restart()
	}
	return true
}

// Gen returns the generation of the session whose way it is.
func (w Way) Gen() uint32 { return atomic.LoadUint32(&w.shared.Gen) }
