package kernelpath

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/cilium/ebpf"
)

// errFrozen is why what Follow does ends early.
var errFrozen = errors.New("the kernel path is frozen")

// freezer has Follow pause.
type freezer struct {
	mu        sync.Mutex
	frozen    bool
	interrupt context.CancelCauseFunc // ends what Follow does at the moment
	// turn is held by Follow while it handles a change, and from Freeze to Unfreeze.
	turn chan struct{}
	// again has Follow handle a change that was not handled to the end, or that it is to
	// assume.
	again chan struct{}
}

func (f *freezer) init() { f.turn, f.again = make(chan struct{}, 1), make(chan struct{}, 1) }

// change has Follow handle a change.
func (f *freezer) change() {
	select {
	case f.again <- struct{}{}:
	default:
	}
}

// handle calls fn, with a context that ends also when Follow is to freeze. It returns at once
// if ctx ends first.
func (f *freezer) handle(ctx context.Context, fn func(context.Context)) {
	select {
	case f.turn <- struct{}{}:
	case <-ctx.Done():
		return
	}
	defer func() { <-f.turn }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.begin(cancel) {
		fn(ctx)
	}
	if f.end() {
		f.change()
	}
}

// begin reports whether Follow may go on.
func (f *freezer) begin(cancel context.CancelCauseFunc) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interrupt = cancel
	return !f.frozen
}

// end reports whether Follow was to freeze meanwhile.
func (f *freezer) end() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.interrupt = nil
	return f.frozen
}

// set changes whether Follow is to be frozen; false if it is so already.
func (f *freezer) set(frozen bool) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == frozen {
		return false
	}
	f.frozen = frozen
	if frozen && f.interrupt != nil {
		f.interrupt(errFrozen)
	}
	return true
}

// Freeze has Follow stop where it is: from here on nothing changes but what the program and
// the shards do. What has changed on the host is handled after Unfreeze, or by the process
// that takes over. It must be called before the shards are frozen, and not at the same time
// as Unfreeze.
func (p *Path) Freeze() {
	if p.freeze.set(true) {
		p.freeze.turn <- struct{}{}
	}
}

// Unfreeze has Follow go on, in a process that keeps the path. It must be called before the
// shards go on. If another process has used the path meanwhile, or has evicted it, all
// entries are deleted, so that datagrams go up; Shard.Reclaims has the shards notice, and
// Follow has the sessions entered again.
func (p *Path) Unfreeze() {
	if !p.freeze.set(false) {
		return
	}
	if atomic.LoadUint32(&p.memory.control.Owner) != p.owner || p.hooks.evicted() {
		p.reclaim()
		p.freeze.change()
	}
	<-p.freeze.turn
}

// reclaim takes the path back from a process that has ended.
func (p *Path) reclaim() {
	if err := errors.Join(
		emptyTable[pathKey4, pathHop4](p.objects.Sessions4), emptyTable[pathKey6, pathHop6](p.objects.Sessions6),
	); err != nil {
		p.cfg.Log.Warn("kernel path: entries of the other process are left", "error", err)
	}
	p.own()
	p.reclaims.Add(1)
}

// Reclaims counts how many times the path was taken back from another process. Each time all
// sessions have left it.
func (s *Shard) Reclaims() uint32 { return s.path.reclaims.Load() }

// emptyTable deletes all entries of a table, some thousand per system call.
func emptyTable[K, V any](table *ebpf.Map) error {
	const some = 4096
	keys, values := make([]K, some), make([]V, some)
	var cursor ebpf.MapBatchCursor
	for {
		switch _, err := table.BatchLookupAndDelete(&cursor, keys, values, nil); {
		case errors.Is(err, ebpf.ErrKeyNotExist):
			return nil
		case err != nil:
			return fmt.Errorf("empty %s: %w", table, err)
		}
	}
}
