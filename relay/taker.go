package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"time"

	"srtrelay/backend"
	"srtrelay/config"
	"srtrelay/relay/takeover"
	"srtrelay/shard"
	"srtrelay/shard/kernelpath"
	"srtrelay/udp"
)

// aliveTimeout is how long the shards may take to show that they turn.
const aliveTimeout = time.Second

// predecessor is the process whose sockets and sessions this one takes: one that runs, or one
// that has crashed.
type predecessor struct {
	taker   *takeover.Taker // nil if it has crashed
	crashed *crashed        // nil if it runs
	sockets []shard.Socket  // until the group has them
	names   []string        // with the service manager, of what it had and this process may not have
	origin  time.Duration   // of the shards' times, by CLOCK_MONOTONIC
	kernel  []kernelpath.File
	api     *os.File
	apiAddr string
	verdict takeover.Verdict // once everything has been taken over
}

// findPredecessor connects to the process to take over from; nil if there is to be none.
func (r *relay) findPredecessor(ctx context.Context) (*predecessor, error) {
	c := r.config
	if c.TakeOver == config.TakeOverNever {
		return nil, nil
	}
	taker, err := takeover.Connect(ctx, c.TakeOverSocket, r.hello(), r.supervisor)
	switch {
	case errors.Is(err, takeover.ErrNobody) && c.TakeOver == config.TakeOverAuto:
		return nil, nil
	case err != nil:
		return nil, err
	}
	b := &predecessor{taker: taker}
	if err := b.receive(); err != nil {
		b.close(err)
		return nil, fmt.Errorf("take-over: %w", err)
	}
	return b, nil
}

// receive sorts the descriptors.
func (b *predecessor) receive() error {
	origin, err := strconv.ParseInt(b.taker.Giver().Settings[settingOrigin], 10, 64)
	if err != nil || origin <= 0 {
		return fmt.Errorf("%s has not said when its times begin", b.taker.Giver())
	}
	b.origin = time.Duration(origin)
	files := b.taker.Files()
	for _, f := range files {
		b.names = append(b.names, storeName(f))
	}
	if name := b.taker.Giver().Settings[settingCheckpoint]; name != "" {
		b.names = append(b.names, name)
	}
	return b.sort(files)
}

// sort sorts files, whose descriptors are b's from then on.
func (b *predecessor) sort(files []takeover.File) error {
	for k, f := range files {
		switch f.Kind {
		case string(shard.SocketFront), string(shard.SocketUpstream):
			at, err := netip.ParseAddrPort(f.Name)
			if err != nil {
				takeover.CloseFiles(files[k:])
				return fmt.Errorf("address of a socket: %w", err)
			}
			b.sockets = append(b.sockets, shard.Socket{
				Kind: shard.SocketKind(f.Kind), Shard: f.Shard, Index: f.Index, Addr: at, FD: f.FD,
			})
		case fileKernel:
			b.kernel = append(b.kernel, kernelpath.File{Name: f.Name, FD: f.FD})
		case fileAPI:
			b.api, b.apiAddr = os.NewFile(uintptr(f.FD), "api"), f.Name
		default:
			takeover.CloseFiles(files[k : k+1]) // of a later version
		}
	}
	return nil
}

// socketsToAdopt returns the sockets, which are the caller's from then on.
func (b *predecessor) socketsToAdopt() []shard.Socket {
	if b == nil {
		return nil
	}
	sockets := b.sockets
	b.sockets = nil
	return sockets
}

// apiPort returns the API's socket if it listens at an address; nil if not.
func (b *predecessor) apiPort(at netip.AddrPort) *os.File {
	if b == nil || b.api == nil || b.apiAddr != at.String() {
		return nil
	}
	return b.api
}

// close closes what nobody has taken. If the take-over has not been committed, the
// predecessor goes on.
func (b *predecessor) close(reason error) {
	if b == nil {
		return
	}
	if reason != nil && b.taker != nil {
		b.taker.Abandon(reason)
	}
	if b.crashed != nil && b.crashed.file != nil {
		_ = b.crashed.file.Close()
		b.crashed.file = nil
	}
	shard.CloseSockets(b.socketsToAdopt())
	for _, k := range b.kernel {
		_ = udp.CloseFD(k.FD)
	}
	b.kernel = nil
	if b.api != nil {
		_ = b.api.Close()
		b.api = nil
	}
}

// takeOver freezes the predecessor, restores its state, and commits. Everything but the
// shards' loops is ready; they must start at once after it. After an error the predecessor
// goes on.
func (r *relay) takeOver(ctx context.Context, b *predecessor) error {
	r.group.Reserve(readSessionCounts(b.taker.Giver().Settings[settingSessions]))
	began := time.Now()
	snapshot, err := b.taker.Snapshot(ctx)
	if err != nil {
		return err
	}
	takeover.CloseFiles(snapshot.Files) // of a later version
	if err := r.restoreParts(snapshot.Parts); err != nil {
		b.taker.Abandon(err)
		return fmt.Errorf("take-over: %w", err)
	}
	if err := b.taker.Commit(ctx); err != nil {
		return err
	}
	r.startKernelPath(b)
	b.verdict = takeover.Verdict{PID: b.taker.Giver().PID, Took: time.Since(began), Sessions: int(r.group.Live())}
	r.log.Info("taken over", "from", b.verdict.PID, "version", b.taker.Giver().Version,
		"sessions", b.verdict.Sessions, "took_ms", b.verdict.Took.Milliseconds())
	return nil
}

// errRestore is that of a part whose restoring has panicked.
var errRestore = errors.New("cannot restore the state, the log has why")

// restoreParts gives every part its state, in parallel.
func (r *relay) restoreParts(parts []takeover.Part) error {
	missing := r.config.Shards + 1
	errs := make([]error, len(parts))
	tasks := r.supervisor.Tasks()
	for k, p := range parts {
		var restore func() error
		switch p.Name {
		case partShard:
			restore = func() error { return r.group.Restore(p.Shard, p.Data) }
		case partRelay:
			restore = func() error { return r.restore(p.Data) }
		default:
			continue // of a later version
		}
		missing--
		errs[k] = errRestore
		tasks.Go("restore", func() { errs[k] = restore() })
	}
	tasks.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if missing != 0 {
		return fmt.Errorf("the snapshot has %d parts instead of %d", r.config.Shards+1-missing, r.config.Shards+1)
	}
	held := r.group.Leases()
	released := r.balancer.releaseExcept(func(l backend.Lease) bool { return held[l] })
	if released > 0 {
		r.log.Info("leases of handshakes under way are given back", "leases", released)
	}
	return nil
}

// startKernelPath has the kernel path that has been taken over go on, or ends that of the
// predecessor.
func (r *relay) startKernelPath(b *predecessor) {
	path := r.kernel.path
	switch {
	case path != nil && path.Adopted():
		path.Start()
	case len(b.kernel) > 0:
		if err := kernelpath.Evict(b.kernel); err != nil {
			r.log.Warn("kernel path of the process before not detached", "error", err)
		}
	}
}

// settle proves to the predecessor that this process works, until that leaves. Then this
// process offers the same.
func (r *relay) settle(ctx context.Context, b *predecessor) {
	giver, err := b.taker.Settle(ctx, r.shardsTurn, r.offer(), r.log)
	if err != nil {
		r.log.Warn("take-over", "error", err)
	}
	r.probation.Store(nil)
	r.group.Settle()
	r.startCheckpointer(b.storedNames())
	r.report.Settled(b.verdict)
	if giver != nil {
		giver.Run(ctx)
	}
}

// shardsTurn reports whether all shards work.
func (r *relay) shardsTurn() bool {
	ctx, cancel := context.WithTimeout(context.Background(), aliveTimeout)
	defer cancel()
	return r.group.AwaitTurns(ctx) == nil
}

// giveToSuccessors answers processes that are to take over, if the configuration has a
// socket for them.
func (r *relay) giveToSuccessors(ctx context.Context) {
	path := r.config.TakeOverSocket
	if path == "" {
		return
	}
	giver, err := takeover.Listen(path, r.offer(), r.log, r.supervisor)
	if err != nil {
		r.log.Warn("no take-over: srtrelay upgrade will not work", "path", path, "error", err)
		return
	}
	giver.Run(ctx)
}
