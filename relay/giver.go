package relay

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"srtrelay/config"
	"srtrelay/relay/takeover"
	"srtrelay/shard"
	"srtrelay/udp"
)

// Kinds of what a relay hands over beside the sockets of its shards, and the parts of its
// snapshot.
const (
	fileAPI    = "api"
	fileKernel = "kernel"

	partShard = "shard"
	partRelay = "relay"
)

const (
	// settingShards and settingSteer may not differ: a listener has a socket per shard, and
	// the kernel has been told how to spread flows over them.
	settingShards = "shards"
	settingSteer  = "steer"
	// settingOrigin is the origin of the shards' times, in ns of CLOCK_MONOTONIC. The new
	// process learns it.
	settingOrigin = "origin"
	// settingSessions is how many sessions each shard has. The new process makes memory
	// for them before the freeze.
	settingSessions = "sessions"
	// settingManager is where the giver's service manager is notified. A taker that a shell has
	// started does not have it from its environment.
	settingManager = "manager"
)

// listFilesTimeout bounds the question to the shards for their sockets.
const listFilesTimeout = time.Second

// snapshotVersions are the versions of the snapshot that this program writes.
func snapshotVersions() []int { return []int{shard.SnapshotVersion} }

// hello is what this process tells the one that it is to take over from.
func (r *relay) hello() takeover.Hello {
	return takeover.Hello{Version: r.version, Settings: fixedSettings(r.config), Snapshots: shard.ReadableSnapshots()}
}

// fixedSettings are the settings that may not differ between the two processes of a
// take-over.
func fixedSettings(c config.Config) map[string]string {
	steer := "flow"
	if c.SteerByCPU {
		steer = "cpu"
	}
	return map[string]string{settingShards: strconv.Itoa(c.Shards), settingSteer: steer}
}

// offer is what this process hands to one that takes over, and how.
func (r *relay) offer() takeover.Offer {
	settings := fixedSettings(r.config)
	if r.checkpointer != nil {
		settings[settingCheckpoint] = r.checkpointer.name
	}
	if at := r.manager.Address(); at != "" {
		settings[settingManager] = at
	}
	settings[settingOrigin] = strconv.FormatInt(int64(r.group.Origin()), 10)
	return takeover.Offer{
		Version: r.version, Settings: settings, Snapshots: snapshotVersions(),
		Facts: func() map[string]string {
			return map[string]string{settingSessions: sessionCounts(r.group.Stats())}
		},
		Files:  r.handOverFiles,
		Freeze: r.freeze,
		Resume: r.resume,
		Park:   r.park,
		Leave: func(pid int) {
			r.successor.Store(int64(pid))
			close(r.handedOver)
		},
	}
}

// sessionCounts writes down how many sessions each shard has.
func sessionCounts(stats []shard.Stats) string {
	var all []string
	for _, s := range stats {
		all = append(all, strconv.FormatUint(s.Values[shard.CountSessions], 10))
	}
	return strings.Join(all, ",")
}

// readSessionCounts reads what sessionCounts has written; what is no number counts as 0.
func readSessionCounts(text string) (all []int) {
	for one := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(one)
		if err != nil || n < 0 {
			n = 0
		}
		all = append(all, n)
	}
	return all
}

// handOverFiles returns duplicates of all descriptors that serve callers. From here on no
// shard opens another socket until resume.
func (r *relay) handOverFiles() (files []takeover.File, err error) {
	defer func() {
		if err != nil {
			takeover.CloseFiles(files)
			files = nil
		}
	}()
	add := func(f takeover.File, fd int) (err error) {
		if f.FD, err = udp.DupFD(fd); err != nil {
			return fmt.Errorf("duplicate %s %s: %w", f.Kind, f.Name, err)
		}
		files = append(files, f)
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), listFilesTimeout)
	defer cancel()
	sockets, err := r.group.Sockets(ctx)
	if err != nil {
		return nil, err
	}
	for _, s := range sockets { // duplicates
		files = append(files, takeover.File{Kind: string(s.Kind), Shard: s.Shard, Index: s.Index, Name: s.Addr.String(), FD: s.FD})
	}
	if r.kernel.path != nil {
		r.kernel.path.Freeze()
		defer r.kernel.path.Unfreeze()
		for _, k := range r.kernel.path.Files() {
			if err := add(takeover.File{Kind: fileKernel, Name: k.Name}, k.FD); err != nil {
				return files, err
			}
		}
	}
	listener, err := r.server.file()
	if err != nil {
		return files, err
	}
	defer listener.Close()
	err = add(takeover.File{Kind: fileAPI, Name: r.server.addr().String()}, int(listener.Fd()))
	return files, err
}

// freeze parks the shards and the balancer, and returns their state.
func (r *relay) freeze(ctx context.Context, _ int) (f takeover.Frozen, err error) {
	r.checkpointer.pause()
	r.gate.hold()
	if r.kernel.path != nil {
		r.kernel.path.Freeze()
	}
	states, took, err := r.group.Freeze(ctx)
	if err != nil {
		return f, err
	}
	r.resolver.Pause()
	r.balancer.pause()
	for k, state := range states {
		f.Parts = append(f.Parts, takeover.Part{Name: partShard, Shard: k, Data: state})
	}
	state, err := r.appendSnapshot(nil)
	if err != nil {
		return f, err
	}
	f.Parts = append(f.Parts, takeover.Part{Name: partRelay, Data: state})
	r.log.Info("frozen for a take-over", "sessions", r.group.Live(), "took_ms", took.Milliseconds())
	return f, nil
}

// resume has this process go on after a take-over that has failed.
func (r *relay) resume(reason error) {
	r.checkpointer.resume()
	r.reloads.takeBack()
	if r.kernel.path != nil {
		r.kernel.path.Unfreeze()
	}
	r.balancer.resume()
	r.resolver.Resume()
	r.resumeEvents(r.parked.Load())
	r.group.Resume()
	r.gate.open(false)
	r.ledger.reclaim(r.tasks, r.group)
	if !r.parked.Swap(false) {
		return
	}
	r.manager.Resume()
	r.passing.start(r.group)
	if err := r.server.resume(r.newServer, r.config.API); err != nil {
		r.log.Error("the API does not answer any more, streams go on", "error", err)
	}
	r.log.Warn("this process goes on with the sessions of when it was frozen", "reason", reason)
}

// park stops what would compete with the process that takes over. It returns at once.
func (r *relay) park(pid int) {
	r.parked.Store(true)
	r.reloads.handOver(pid)
	r.gate.open(true)
	r.manager.Yield()
	r.passing.stop()
	r.server.stop()
}

// setMainTimeout bounds how long the service manager may take to read who its main process
// is.
const setMainTimeout = 2 * time.Second

// leave ends a relay that another process has taken over: no caller is told, and nothing is
// removed that is the other one's now.
func (r *relay) leave(end func()) {
	r.setMain(int(r.successor.Load()))
	end()
	r.passing.stop()
	r.group.Abandon()
	r.stopTasks()
	r.kernel.release()
	r.checkpointer.stop()
	r.checkpointer.close()
	r.ledger.close(false) // its own file only, which a successor with a ledger has renamed
	r.log.Info("left to the new process")
}

// setMain tells the service manager who its main process is. If this process ended before,
// the manager would stop the service.
func (r *relay) setMain(pid int) {
	if pid == 0 {
		return // it is in another PID namespace
	}
	limited, cancel := context.WithTimeout(context.Background(), setMainTimeout)
	defer cancel()
	if err := r.manager.SetMain(limited, pid); err != nil {
		r.log.Warn("the service manager may stop the new process", "error", err)
	}
}

// waitInPod waits until the process is stopped. With --takeover auto a process that ends may
// be started again, as Kubernetes does, and would take over from its own successor.
func (r *relay) waitInPod(ctx context.Context, drain <-chan struct{}) {
	if r.config.TakeOver != config.TakeOverAuto {
		return
	}
	r.log.Info("waiting to be stopped")
	for {
		select {
		case <-ctx.Done():
			return
		case <-drain:
			return
		case <-r.reloads.hup:
			r.reloads.passOn()
		}
	}
}
