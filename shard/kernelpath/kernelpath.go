// Package kernelpath relays the datagrams of established sessions in the kernel: a BPF
// program at TCX hooks (Linux 6.6) rewrites a datagram and sends it straight on to the
// other side. What it does not take goes up to user space unchanged, and is relayed there
// as without the package. Datagrams go on while the relay's process is stopped or starved.
//
// kernelpath.go loads the program, entry.go enters sessions, route.go finds out where
// datagrams leave, hooks.go attaches the program to the host's devices, and watch.go
// follows their changes, pathmtu.go those of IPv6 paths. way.go is what the program and
// user space share about a session's way: what has passed, and how the way is handed over
// without a datagram being overtaken. record.go reads the heads of datagrams that user
// space must see. takeover.go hands the path to another process, or takes it from one;
// freeze.go has it stand still meanwhile.
//
// It must not know what a session's states are, nor what its numbers are used for
// (shard). The program is in bpf/.
package kernelpath

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	kernel "github.com/cilium/ebpf/features"
	"golang.org/x/sys/unix"

	"srtrelay/internal/supervise"
)

// ErrUnavailable says that the kernel or the process's rights do not allow the path.
var ErrUnavailable = errors.New("the kernel path is not available")

// Config is what a Path is made of.
type Config struct {
	// Shards is the number of shards, Places how many sessions each may have.
	Shards, Places int
	// AcceptLocal has datagrams to backends of this host passed on without a redirect. The
	// operator has set accept_local on the devices.
	AcceptLocal bool
	// Shield has control packets checked (package shield), until SetShield: what fails goes
	// up.
	Shield bool
	// Adopt are the descriptors of a running process's path (Files), which Open takes over
	// instead of creating anything. They stay the caller's. Places is then that of the other
	// process.
	Adopt []File
	Log   *slog.Logger
	// Supervisor recovers panics of what follows the changes of routes.
	Supervisor *supervise.Supervisor
}

// Path is the kernel path of a relay. Its methods may be called by any goroutine.
type Path struct {
	cfg     Config
	objects objects
	memory  memory
	rings   []*ebpf.Map
	shards  []*Shard
	hooks   hooks
	notices notices
	ipsec   ipsec
	// epoch counts the changes of routes: what was resolved before is void.
	epoch atomic.Uint32
	// paths counts the changes of the MTUs of IPv6 paths.
	paths atomic.Uint32
	// clock is what to subtract from CLOCK_MONOTONIC, in ns.
	clock uint64
	// places is how many sessions each shard may have in the path.
	places int
	// started says that this process uses the path, owner is control.owner then.
	started bool
	owner   uint32
	freeze  freezer
	// reclaims counts how many times the path was taken back.
	reclaims atomic.Uint32

	pauseMu sync.Mutex
	pauses  int

	shieldMu sync.Mutex
	shield   bool // what control.shield is to be
	shields  bool // this process has the say
}

// objects are pathObjects without the variables, which only name types for bpf2go.
type objects struct {
	pathPrograms
	pathMaps
}

// Shard is one shard's part of the path. It belongs to the shard's loop.
type Shard struct {
	path  *Path
	index int
	base  uint32 // its first place
	ring  ringReader
	cache routeCache
}

// Most bytes of all rings together, and the bounds of one. A ring of 1 MiB has space for
// 11,000 short records.
const (
	ringsMost = 4 << 20
	ringMost  = 1 << 20
	ringLeast = 256 << 10
)

// placesMost is how many sessions all shards together may have in the path. They take 192
// bytes of the kernel's memory each from the start, and some 250 more while in use.
const placesMost = 1 << 17

// hookMost is how many programs a hook has space for (bpf_mprog_max, Linux 6.6).
const hookMost = 63

// Open loads the program and attaches it. The error is ErrUnavailable where the kernel or
// the rights do not allow it, and ErrMismatch if the descriptors of Config.Adopt do not fit.
func Open(cfg Config) (*Path, error) {
	p := &Path{cfg: cfg, shield: cfg.Shield, places: min(cfg.Places, placesMost/cfg.Shards)}
	p.epoch.Store(1)
	p.freeze.init()
	if err := p.open(); err != nil {
		p.Release()
		return nil, explain(err)
	}
	return p, nil
}

// explain adds what an error of the kernel means to an operator.
func explain(err error) error {
	switch {
	case errors.Is(err, ErrMismatch), errors.Is(err, ErrUnavailable):
		return err
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: it takes CAP_BPF and CAP_NET_ADMIN: %w", ErrUnavailable, err)
	case errors.Is(err, ebpf.ErrNotSupported), errors.Is(err, unix.ENOSYS), isOld():
		return fmt.Errorf("%w: it takes Linux 6.6: %w", ErrUnavailable, err)
	case errors.Is(err, unix.ERANGE):
		return fmt.Errorf("the kernel path does not open: lo has %d programs of others, which is the most: %w", hookMost, err)
	}
	return fmt.Errorf("the kernel path does not open: %w", err)
}

// isOld reports whether the kernel is older than TCX. Such a one may fail at something else
// first, by an error that says nothing.
func isOld() bool {
	const tcx = 6<<16 | 6<<8
	version, err := kernel.LinuxVersionCode()
	return err == nil && version < tcx
}

func (p *Path) open() error {
	if err := checkUnbound(); err != nil {
		return err
	}
	load := p.load
	if p.cfg.Adopt != nil {
		load = p.adopt
	}
	if err := load(); err != nil {
		return err
	}
	if err := p.memory.mapAll(&p.objects.pathMaps, p.ways()); err != nil {
		return err
	}
	p.sign()
	for k := range p.cfg.Shards {
		s := &Shard{path: p, index: k, base: uint32(k * p.places)}
		p.shards = append(p.shards, s)
		if err := errors.Join(s.ring.open(p.rings[k]), s.cache.open()); err != nil {
			return err
		}
	}
	if err := errors.Join(p.notices.open(), p.ipsec.open()); err != nil { // before the first look
		return err
	}
	return p.hooks.open(p)
}

// ways is how many ways all shards together may have.
func (p *Path) ways() int { return 2 * p.cfg.Shards * p.places }

// load creates the maps and loads the program.
func (p *Path) load() error {
	spec, err := loadPath()
	if err != nil {
		return err
	}
	size := uint32(ringLeast)
	for size < ringMost && int(size)*2*p.cfg.Shards <= ringsMost {
		size *= 2
	}
	p.fit(spec, size)
	rings := spec.Maps[pathMapRings]
	for k := range p.cfg.Shards {
		ring, err := ebpf.NewMap(&ebpf.MapSpec{Name: "ring", Type: ebpf.RingBuf, MaxEntries: size})
		if err != nil {
			return fmt.Errorf("create ring: %w", err)
		}
		p.rings = append(p.rings, ring)
		rings.Contents = append(rings.Contents, ebpf.MapKV{Key: uint32(k), Value: ring})
	}
	if err := spec.LoadAndAssign(&p.objects, nil); err != nil {
		return fmt.Errorf("load program: %w", err)
	}
	return nil
}

// fit sets the sizes of maps, with rings of so many bytes.
func (p *Path) fit(spec *ebpf.CollectionSpec, ring uint32) {
	for _, name := range []string{pathMapSessions4, pathMapSessions6, pathMapWays, pathMapHandovers} {
		spec.Maps[name].MaxEntries = uint32(p.ways())
	}
	rings := spec.Maps[pathMapRings]
	rings.MaxEntries, rings.InnerMap.MaxEntries = uint32(p.cfg.Shards), ring
}

// SetOrigin sets time 0 of the times of records and ways. It must be called before the
// shards use the path.
func (p *Path) SetOrigin(origin time.Time) error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return os.NewSyscallError("clock_gettime", err)
	}
	p.clock = uint64(now.Nano()) - uint64(time.Since(origin))
	return nil
}

// Shard returns the part of shard k.
func (p *Path) Shard(k int) *Shard { return p.shards[k] }

// Places returns how many sessions a shard may have in the path, at places from 0 on.
func (s *Shard) Places() int { return s.path.places }

// Close detaches the program, unless it is another process's that has not been taken over
// yet. The shards must have ended, and Follow.
func (p *Path) Close() {
	if p.started {
		p.hooks.detach()
	}
	p.Release()
}

// Release closes this process's descriptors, and does not detach the program: it goes on if
// another process has taken the path over. The shards must have ended, and Follow.
func (p *Path) Release() {
	p.hooks.close()
	p.notices.close()
	p.ipsec.close()
	for _, s := range p.shards {
		s.ring.close()
		s.cache.close()
	}
	p.memory.unmapAll()
	for _, ring := range p.rings {
		_ = ring.Close()
	}
	_ = _PathClose(&p.objects.pathPrograms, &p.objects.pathMaps)
}

// loopTime converts a time of the program to the clock of Config.Origin.
func (p *Path) loopTime(ns uint64) time.Duration { return time.Duration(ns - p.clock) }

// pause has every datagram go up to user space until as many calls of resume.
func (p *Path) pause() {
	p.pauseMu.Lock()
	defer p.pauseMu.Unlock()
	p.pauses++
	atomic.StoreUint32(&p.memory.control.Paused, 1)
}

func (p *Path) resume() {
	p.pauseMu.Lock()
	defer p.pauseMu.Unlock()
	if p.pauses--; p.pauses == 0 {
		atomic.StoreUint32(&p.memory.control.Paused, 0)
	}
}

// keepPaused ends a pause, and datagrams go on to go up until another one has ended.
func (p *Path) keepPaused() {
	p.pauseMu.Lock()
	defer p.pauseMu.Unlock()
	p.pauses--
}

// SetShield has control packets checked from here on, or not any more.
func (p *Path) SetShield(on bool) {
	p.shieldMu.Lock()
	defer p.shieldMu.Unlock()
	p.shield = on
	if p.shields {
		atomic.StoreUint32(&p.memory.control.Shield, uint32(bit(on)))
	}
}

// ownShield tells the program whether to check, in the process that uses the path.
func (p *Path) ownShield() {
	p.shieldMu.Lock()
	defer p.shieldMu.Unlock()
	p.shields = true
	atomic.StoreUint32(&p.memory.control.Shield, uint32(bit(p.shield)))
}
