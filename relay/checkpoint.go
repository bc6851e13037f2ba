package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"srtrelay/config"
	"srtrelay/internal/message"
	"srtrelay/internal/supervise"
	"srtrelay/relay/takeover"
	"srtrelay/shard/checkpoint"
	"srtrelay/udp"
)

const (
	// keepEvery is how often the keeper looks for what has changed, and writes that the
	// process lives.
	keepEvery = 250 * time.Millisecond
	// stateShare bounds the time for writing the state of the balancer: so many times as
	// long passes before the next time, but no more than stateSeldom.
	stateShare  = 50
	stateSeldom = 2 * time.Second
	// forgetTimeout bounds how long an end waits for the service manager.
	forgetTimeout = 2 * time.Second
	// reportEvery is the least time between two lines of the log that say the same.
	reportEvery = time.Minute
)

// fileCheckpoint is the kind of the file with the sessions' records.
const fileCheckpoint = "checkpoint"

// linkPrefix begins the names of the kernel path's links (kernelpath.File).
const linkPrefix = "link "

// settingCheckpoint is the name of the giver's checkpoint with the service manager, which the
// process that takes over replaces by its own.
const settingCheckpoint = "checkpoint"

// keeper keeps what the next process needs to go on after a crash: descriptors with the
// service manager, and the checkpoint. A nil keeper keeps nothing.
type keeper struct {
	*relay
	file   *udp.PrivateFile
	header checkpoint.Header
	name   string // of the file, with the manager
	state  *checkpoint.StateWriter
	began  time.Time

	paused atomic.Bool // another process keeps what it has taken over
	anew   atomic.Bool // the manager may have lost what it had

	mu    sync.Mutex      // of what follows, and while the manager is talked to
	kept  map[string]bool // the names that the manager has
	stale map[string]bool // those of them under which it has what this process has not
	// What has been kept, by its counts of changes.
	upstreams int
	links     uint64
	reported  map[string]time.Time // errors, by what they mean
	nextState time.Time
	keeperProof

	tasks *supervise.Tasks
	end   context.CancelFunc
}

// openKeeper opens a checkpoint, which the group writes from then on. failures is how many
// starts in a row have failed. Without a store, or after an error, it returns nil.
func (r *relay) openKeeper(failures int) *keeper {
	if r.config.CrashRecovery != config.CrashRecoveryAuto || !r.manager.HasStore() {
		return nil
	}
	k := &keeper{relay: r, kept: make(map[string]bool), links: never, began: time.Now()}
	if err := k.open(failures); err != nil {
		r.log.Warn("no checkpoint: sessions end with a crash", "error", err)
		if k.file != nil {
			_ = k.file.Close()
		}
		return nil
	}
	return k
}

// never is no count of changes.
const never = ^uint64(0)

func (k *keeper) open(failures int) (err error) {
	boot, now, err := bootClock()
	if err != nil {
		return err
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand, Go 1.24)
	k.header = checkpoint.Header{
		Boot: boot, PID: os.Getpid(), Nonce: binary.LittleEndian.Uint64(nonce[:]),
		Shards: len(k.group.Stats()), PerShard: k.group.LedgerPlaces(), SteerByCPU: k.config.SteerByCPU,
		Origin: k.group.Origin(), Heartbeat: now, Failures: failures,
	}
	k.name = storeName(takeover.File{Kind: fileCheckpoint, Name: strconv.FormatUint(k.header.Nonce, 16)})
	if k.file, err = udp.NewMemoryFile("srtrelay-checkpoint"); err != nil {
		return err
	}
	if err := k.file.Reset(k.header.Size()); err != nil {
		return err
	}
	if err := k.file.Reserve(0, checkpoint.HeaderSize); err != nil {
		return err
	}
	k.header.Encode(k.file.Bytes())
	k.state = k.header.StateWriter(k.file)
	return k.group.UseCheckpoint(&k.header, k.file.Bytes(), k.file.Reserve)
}

// keep has the keeper keep everything from now on. Without one, what the service manager has of
// a process before this one is forgotten: it would outlive this process too, and the next one
// would take it for this one's.
func (r *relay) keep(has []string) {
	if r.keeper == nil && len(has) > 0 {
		r.forgetNames(has)
	}
	r.keeper.start(has)
}

// start keeps everything from now on. has are names that the manager has, of a process before
// this one: those that this process has not are removed.
func (k *keeper) start(has []string) {
	if k == nil {
		return
	}
	adopted := k.kernel.path != nil && k.kernel.path.Adopted()
	k.stale = make(map[string]bool)
	for _, name := range has {
		k.kept[name] = true
		if f, _ := readStoreName(name); f.Kind == fileKernel && !adopted {
			k.stale[name] = true
		}
	}
	ctx, end := context.WithCancel(context.Background())
	k.tasks, k.end = k.supervisor.Tasks(), end
	k.tasks.Loop(ctx, "descriptor store", k.run)
}

// run keeps everything until ctx ends.
func (k *keeper) run(ctx context.Context) {
	k.turn(ctx)
	supervise.Every(ctx, keepEvery, func(time.Time) { k.turn(ctx) })
}

// turn does what is due.
func (k *keeper) turn(ctx context.Context) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.paused.Load() || k.none || ctx.Err() != nil {
		return
	}
	if k.anew.Swap(false) {
		k.upstreams, k.links, k.proven = 0, never, false
	}
	if now, err := udp.SinceBoot(); err == nil {
		checkpoint.SetHeartbeat(k.file.Bytes(), now)
	}
	if k.header.Failures > 0 && time.Since(k.began) > checkpoint.Steady {
		k.header.Failures = 0
		checkpoint.SetFailures(k.file.Bytes(), 0)
	}
	if began := time.Now(); began.After(k.nextState) {
		err := k.state.Write(k.shared())
		k.nextState = began.Add(min(stateShare*time.Since(began), stateSeldom))
		k.report("the balancer's state is not kept for a crash", err)
	}
	err := k.findStore(ctx)
	if err == nil && !k.none {
		err = k.sync(ctx)
	}
	if err == nil {
		err = k.prove(ctx)
	}
	k.report("descriptors are not kept for a crash, trying again", err)
}

// report logs an error, each kind once in reportEvery: the manager may fail for a moment, and
// hours later for good.
func (k *keeper) report(what string, err error) {
	if err == nil || time.Since(k.reported[what]) < reportEvery {
		return
	}
	k.log.Warn(what, "error", err)
	if k.reported == nil {
		k.reported = make(map[string]time.Time)
	}
	k.reported[what] = time.Now()
}

// shared is the state that the shards share, and that they do not keep themselves.
func (k *keeper) shared() []byte {
	boot, err := udp.AtMonotonic(0)
	if err != nil {
		return nil
	}
	return k.sealed(nil, k.backendParts(boot))
}

// backendParts are the parts of a snapshot that are about backends.
func (r *relay) backendParts(boot time.Time) map[message.Number]func([]byte) []byte {
	parts := map[message.Number]func([]byte) []byte{
		snapshotBackends: func(b []byte) []byte { return r.registry.AppendSnapshot(b, boot) },
		snapshotBalancer: func(b []byte) []byte { return r.balancer.memory.AppendSnapshot(b, boot) },
	}
	if r.balancer.shared != nil {
		parts[snapshotShared] = func(b []byte) []byte { return r.balancer.shared.AppendSnapshot(b, boot) }
	}
	return parts
}

// sync has the manager keep the present descriptors, and no others.
func (k *keeper) sync(ctx context.Context) error {
	upstreams, links := k.group.CountUpstreams(), uint64(0)
	path := k.kernel.path
	if path != nil {
		links = path.Changes()
	}
	if upstreams == k.upstreams && links == k.links {
		return nil
	}
	files, err := k.presentFiles(ctx)
	defer takeover.CloseFiles(files)
	if err != nil {
		return err
	}
	names := map[string]bool{k.name: true}
	for _, f := range files {
		name := storeName(f)
		names[name] = true
		// A link to another device may have the name of one that is gone.
		other := links != k.links && k.links != never && f.Kind == fileKernel && strings.HasPrefix(f.Name, linkPrefix)
		if k.stale[name] || other && k.kept[name] {
			if err := k.remove(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if err := k.store(ctx, storeName(f), f.FD); err != nil {
			return err
		}
	}
	if err := k.store(ctx, k.name, k.file.FD()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(k.kept)) {
		if names[name] {
			continue
		}
		if err := k.remove(ctx, name); err != nil {
			return err
		}
	}
	k.upstreams, k.links, k.due = upstreams, links, true
	return nil
}

// presentFiles returns duplicates of all descriptors that are kept.
func (k *keeper) presentFiles(ctx context.Context) (files []takeover.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, listFilesTimeout)
	defer cancel()
	sockets, err := k.group.PresentSockets(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range sockets {
		files = append(files, takeover.File{Kind: string(s.Kind), Shard: s.Shard, Index: s.Index, Name: s.Addr.String(), FD: s.FD})
	}
	if k.kernel.path == nil {
		return files, nil
	}
	kernel, err := k.kernel.path.PresentFiles()
	for _, f := range kernel {
		files = append(files, takeover.File{Kind: fileKernel, Name: f.Name, FD: f.FD})
	}
	return files, err
}

// holds reports whether the manager has everything.
func (k *keeper) holds() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.paused.Load() && !k.anew.Load() && k.proven
}

// pause has another process keep what it has taken over. It does not wait for what is under
// way: the shards are about to freeze.
func (k *keeper) pause() {
	if k != nil {
		k.paused.Store(true)
	}
}

// resume goes on after pause. The shards are still frozen: it does not wait for a manager that
// does not answer.
func (k *keeper) resume() {
	if k != nil {
		k.anew.Store(true)
		k.paused.Store(false)
	}
}

// stop ends the keeper. What is kept stays with the manager.
func (k *keeper) stop() {
	if k == nil {
		return
	}
	if k.end != nil {
		k.end()
		k.tasks.Wait()
	}
}

// forget ends the keeper and has the manager close everything: this process stops in order,
// and the next one begins anew.
func (k *keeper) forget() {
	if k == nil {
		return
	}
	k.stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forgetNames(slices.Collect(maps.Keys(k.kept)))
	clear(k.kept)
}

// close closes the checkpoint. The group must have ended.
func (k *keeper) close() {
	if k != nil {
		_ = k.file.Close()
	}
}
