package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
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
	// checkpointEvery is how often the checkpointer looks for what has changed, and writes that
	// the process lives.
	checkpointEvery = 250 * time.Millisecond
	// stateShare bounds the time for writing the state of the balancer: after a write as many
	// times its duration passes before the next one, but no more than stateSeldom.
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

// checkpointer keeps what the next process needs to go on after a crash: descriptors with the
// service manager, and the checkpoint. A nil checkpointer keeps nothing.
type checkpointer struct {
	*relay
	file   *udp.PrivateFile
	header checkpoint.Header
	name   string // of the file, with the manager
	state  *checkpoint.StateWriter
	began  time.Time
	// started is when it began to keep descriptors.
	started time.Time

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
	storeProof

	tasks *supervise.Tasks
	end   context.CancelFunc
}

// openCheckpointer opens a checkpoint, which the group writes from then on. failures is how many
// starts in a row have failed. Without a store, or after an error, it returns nil.
func (r *relay) openCheckpointer(failures int) *checkpointer {
	if r.config.CrashRecovery != config.CrashRecoveryAuto || !r.manager.HasStore() {
		return nil
	}
	c := &checkpointer{relay: r, kept: make(map[string]bool), links: never, began: time.Now()}
	if err := c.open(failures); err != nil {
		r.log.Warn("no checkpoint: sessions end with a crash", "error", err)
		if c.file != nil {
			_ = c.file.Close()
		}
		return nil
	}
	return c
}

// never is no count of changes.
const never = ^uint64(0)

func (c *checkpointer) open(failures int) (err error) {
	boot, now, err := bootClock()
	if err != nil {
		return err
	}
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand, Go 1.24)
	c.header = checkpoint.Header{
		Boot: boot, PID: os.Getpid(), Nonce: binary.LittleEndian.Uint64(nonce[:]),
		Shards: len(c.group.Stats()), PerShard: c.group.LedgerPlaces(), SteerByCPU: c.config.SteerByCPU,
		Origin: c.group.Origin(), Heartbeat: now, Failures: failures,
	}
	c.name = storeName(takeover.File{Kind: fileCheckpoint, Name: strconv.FormatUint(c.header.Nonce, 16)})
	if c.file, err = udp.NewMemoryFile("srtrelay-checkpoint"); err != nil {
		return err
	}
	if err := c.file.Reset(c.header.Size()); err != nil {
		return err
	}
	if err := c.file.Reserve(0, checkpoint.HeaderSize); err != nil {
		return err
	}
	c.header.Encode(c.file.Bytes())
	c.state = c.header.StateWriter(c.file)
	return c.group.UseCheckpoint(&c.header, c.file.Bytes(), c.file.Reserve)
}

// startCheckpointer has the checkpointer keep everything from now on. Without one, what the
// service manager has of a process before this one is forgotten: it would outlive this process
// too, and the next one would take it for this one's.
func (r *relay) startCheckpointer(has []string) {
	if r.checkpointer == nil && len(has) > 0 {
		r.forgetNames(has)
	}
	r.checkpointer.start(has)
}

// start keeps everything from now on. has are names that the manager has, of a process before
// this one: those that this process has not are removed.
func (c *checkpointer) start(has []string) {
	if c == nil {
		return
	}
	adopted := c.kernel.path != nil && c.kernel.path.Adopted()
	c.stale, c.started = make(map[string]bool), time.Now()
	for _, name := range has {
		c.kept[name] = true
		if f, _ := readStoreName(name); f.Kind == fileKernel && !adopted {
			c.stale[name] = true
		}
	}
	ctx, end := context.WithCancel(context.Background())
	c.tasks, c.end = c.supervisor.Tasks(), end
	c.tasks.Loop(ctx, "descriptor store", c.run)
}

// run keeps everything until ctx ends.
func (c *checkpointer) run(ctx context.Context) {
	c.turn(ctx)
	supervise.Every(ctx, checkpointEvery, func(time.Time) { c.turn(ctx) })
}

// turn does what is due.
func (c *checkpointer) turn(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused.Load() || c.none || ctx.Err() != nil {
		return
	}
	if c.anew.Swap(false) {
		c.upstreams, c.links, c.proven = 0, never, false
	}
	if now, err := udp.SinceBoot(); err == nil {
		checkpoint.SetHeartbeat(c.file.Bytes(), now)
	}
	if c.header.Failures > 0 && time.Since(c.began) > checkpoint.Steady {
		c.header.Failures = 0
		checkpoint.SetFailures(c.file.Bytes(), 0)
	}
	if began := time.Now(); began.After(c.nextState) {
		err := c.state.Write(c.shared())
		c.nextState = began.Add(min(stateShare*time.Since(began), stateSeldom))
		c.report("the balancer's state is not kept for a crash", err)
	}
	err := c.findStore(ctx)
	if err == nil && !c.none {
		err = c.sync(ctx)
	}
	if err == nil {
		err = c.prove(ctx)
	}
	if errors.Is(err, errNotMain) {
		return
	}
	c.report("descriptors are not kept for a crash, trying again", err)
}

// report logs an error, each kind once in reportEvery: the manager may fail for a moment, and
// hours later for good.
func (c *checkpointer) report(what string, err error) {
	if err == nil || time.Since(c.reported[what]) < reportEvery {
		return
	}
	c.log.Warn(what, "error", err)
	if c.reported == nil {
		c.reported = make(map[string]time.Time)
	}
	c.reported[what] = time.Now()
}

// shared is the state that the shards share, and that they do not keep themselves.
func (c *checkpointer) shared() []byte {
	boot, err := udp.AtMonotonic(0)
	if err != nil {
		return nil
	}
	return c.sealed(nil, c.backendParts(boot))
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
func (c *checkpointer) sync(ctx context.Context) error {
	upstreams, links := c.group.CountUpstreams(), uint64(0)
	path := c.kernel.path
	if path != nil {
		links = path.Changes()
	}
	if upstreams == c.upstreams && links == c.links {
		return nil
	}
	files, err := c.presentFiles(ctx)
	defer takeover.CloseFiles(files)
	if err != nil {
		return err
	}
	names := map[string]bool{c.name: true}
	for _, f := range files {
		name := storeName(f)
		names[name] = true
		// A link to another device may have the name of one that is gone.
		other := links != c.links && c.links != never && f.Kind == fileKernel && strings.HasPrefix(f.Name, linkPrefix)
		if c.stale[name] || other && c.kept[name] {
			if err := c.remove(ctx, name); err != nil {
				return err
			}
		}
	}
	for _, f := range files {
		if err := c.store(ctx, storeName(f), f.FD); err != nil {
			return err
		}
	}
	if err := c.store(ctx, c.name, c.file.FD()); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(c.kept)) {
		if names[name] {
			continue
		}
		if err := c.remove(ctx, name); err != nil {
			return err
		}
	}
	c.upstreams, c.links, c.due = upstreams, links, true
	return nil
}

// presentFiles returns duplicates of all descriptors that are kept.
func (c *checkpointer) presentFiles(ctx context.Context) (files []takeover.File, err error) {
	ctx, cancel := context.WithTimeout(ctx, listFilesTimeout)
	defer cancel()
	sockets, err := c.group.PresentSockets(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range sockets {
		files = append(files, takeover.File{Kind: string(s.Kind), Shard: s.Shard, Index: s.Index, Name: s.Addr.String(), FD: s.FD})
	}
	if c.kernel.path == nil {
		return files, nil
	}
	kernel, err := c.kernel.path.PresentFiles()
	for _, f := range kernel {
		files = append(files, takeover.File{Kind: fileKernel, Name: f.Name, FD: f.FD})
	}
	return files, err
}

// holds reports whether the manager has everything.
func (c *checkpointer) holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.paused.Load() && !c.anew.Load() && c.proven
}

// pause has another process keep what it has taken over. It does not wait for what is under
// way: the shards are about to freeze.
func (c *checkpointer) pause() {
	if c != nil {
		c.paused.Store(true)
	}
}

// resume goes on after pause. The shards are still frozen: it does not wait for a manager that
// does not answer.
func (c *checkpointer) resume() {
	if c != nil {
		c.anew.Store(true)
		c.paused.Store(false)
	}
}

// stop ends the checkpointer. What is kept stays with the manager.
func (c *checkpointer) stop() {
	if c == nil {
		return
	}
	if c.end != nil {
		c.end()
		c.tasks.Wait()
	}
}

// forget ends the checkpointer and has the manager close everything: this process stops in order,
// and the next one begins anew.
func (c *checkpointer) forget() {
	if c == nil {
		return
	}
	c.stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetNames(slices.Collect(maps.Keys(c.kept)))
	clear(c.kept)
}

// close closes the checkpoint. The group must have ended.
func (c *checkpointer) close() {
	if c != nil {
		_ = c.file.Close()
	}
}
