package relay

import (
	"errors"
	"syscall"
	"time"

	"srtrelay/backend"
	"srtrelay/config"
	"srtrelay/internal/message"
	"srtrelay/relay/notify"
	"srtrelay/relay/takeover"
	"srtrelay/shard"
	"srtrelay/shard/checkpoint"
	"srtrelay/shard/kernelpath"
	"srtrelay/udp"
)

// patienceOfPeers is for how long peers surely wait for a datagram: the sessions that a
// crashed process relayed itself go on if it is not longer dead. libsrt gives up after 5 s
// without a datagram, and nobody knows when its last one came.
const patienceOfPeers = 3 * time.Second

// errNoCheckpoint says that the descriptors of a process have no sessions.
var errNoCheckpoint = errors.New("it has left no checkpoint")

// crashed is what the service manager has kept of a process that has died.
type crashed struct {
	file   *udp.PrivateFile
	header checkpoint.Header
	dead   time.Duration // for how long it is dead
}

// readCrashed sorts what the service manager has kept. It owns the descriptors.
func (r *relay) readCrashed(stored []notify.Stored) (*predecessor, error) {
	b := &predecessor{crashed: &crashed{}}
	var files []takeover.File
	var checkpoints []takeover.File
	for _, one := range stored {
		f, ok := readStoreName(one.Name)
		f.FD = one.FD
		switch {
		case !ok:
			takeover.CloseFiles([]takeover.File{f}) // of another purpose
			continue
		case f.Kind == fileCheckpoint:
			checkpoints = append(checkpoints, f)
		default:
			files = append(files, f)
		}
		b.names = append(b.names, one.Name)
	}
	err := b.sort(files)
	return b, errors.Join(err, b.crashed.open(checkpoints, r.config))
}

// open opens the latest of some checkpoints: a take-over may have left that of the process
// before.
func (c *crashed) open(files []takeover.File, cfg config.Config) error {
	boot, now, err := bootClock()
	if err != nil {
		takeover.CloseFiles(files)
		return err
	}
	unusable := errNoCheckpoint
	for _, one := range files {
		file, header, err := readCheckpoint(one.FD)
		if err == nil {
			err = header.Usable(boot, now, cfg.Shards, cfg.SteerByCPU)
		}
		switch {
		case err != nil:
			unusable = err
		case c.file == nil || header.Heartbeat > c.header.Heartbeat:
			file, c.file, c.header = c.file, file, header
		}
		if file != nil {
			_ = file.Close()
		}
	}
	if c.file == nil {
		return unusable
	}
	c.dead = now - c.header.Heartbeat
	return nil
}

func readCheckpoint(fd int) (*udp.PrivateFile, checkpoint.Header, error) {
	file, err := udp.AdoptMemoryFile(fd)
	if err != nil {
		_ = udp.CloseFD(fd)
		return nil, checkpoint.Header{}, err
	}
	size, err := file.Size()
	if err != nil {
		return file, checkpoint.Header{}, err
	}
	b := make([]byte, checkpoint.HeaderSize)
	if _, err := file.ReadAt(b, 0); err != nil {
		return file, checkpoint.Header{}, checkpoint.ErrTruncated
	}
	header, err := checkpoint.Decode(b, size)
	return file, header, err
}

// recoverCrashed goes on with the sockets and the sessions of a process that has died, if the
// service manager has kept them. It returns nil if this process begins anew. All is ready then
// but for the loops, which must start at once.
func (r *relay) recoverCrashed() *predecessor {
	stored := r.stored
	r.stored = nil
	if len(stored) == 0 {
		return nil
	}
	b, err := r.readCrashed(stored)
	if err == nil && r.config.CrashRecovery != config.CrashRecoveryAuto {
		err = errors.New("--crash-recovery is off")
	}
	if err == nil {
		err = r.goOn(b)
	}
	if err == nil {
		return b
	}
	if len(b.names) > 0 {
		r.log.Warn("the sessions of a process that died do not go on, its sockets and its kernel path are closed", "reason", err)
		if err := kernelpath.Evict(b.kernel); err != nil {
			r.log.Warn("kernel path of the process before not detached", "error", err)
		}
		b.close(nil)
		r.forgetNames(b.names)
		r.closedUntil = time.Now().Add(closedTimeout)
	}
	return nil
}

// closedTimeout is for how long sockets that the service manager has closed may still hold
// their ports: a process that it starts meanwhile has copies until it runs its program.
const closedTimeout = 2 * time.Second

// openAnew opens everything without a predecessor.
func (r *relay) openAnew() error {
	for {
		err := r.openSockets(nil)
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(r.closedUntil) {
			return err
		}
		time.Sleep(closedTimeout / 40)
	}
}

// goOn opens everything with what a process that has died has left. After an error nothing is
// open.
func (r *relay) goOn(b *predecessor) error {
	c := b.crashed
	// If this process does not last, the next one knows.
	failures := c.header.Failures + 1
	if err := checkpoint.WriteFailures(c.file, failures); err != nil {
		return err
	}
	b.origin = c.header.Origin
	if err := r.openSockets(b); err != nil {
		return err
	}
	err := r.recoverSessions(b, failures)
	if err != nil {
		r.balancer.releaseExcept(func(backend.Lease) bool { return false })
		r.closeSockets()
		r.checkpointer.close()
		r.checkpointer = nil
		r.ledger.close(true) // which the group has used until then
		r.ledger = nil
	}
	return err
}

// recoverSessions has the sessions go on, of which the loops have not begun.
func (r *relay) recoverSessions(b *predecessor, failures int) error {
	c := b.crashed
	began := time.Now()
	stateErr := r.recoverShared(c)
	r.ledger = openLedger(r.config.SessionLedger, false, r.group, r.log)
	r.checkpointer = r.openCheckpointer(failures)
	from := shard.Recovery{Records: make([][][]byte, c.header.Shards), KeepOthers: c.dead <= patienceOfPeers}
	damaged := 0
	err := c.file.Data(func(offset int64, piece []byte) bool {
		damaged += c.header.Scan(offset, piece, func(shard int, record []byte) {
			from.Records[shard] = append(from.Records[shard], append([]byte(nil), record...))
		})
		return true
	})
	if err != nil {
		return err
	}
	path := r.kernel.path
	if path != nil && path.Adopted() {
		survey, err := path.Survey()
		if err != nil {
			return err
		}
		from.InKernel = survey.Has
	}
	counts := make([]int, len(from.Records))
	for k := range counts {
		counts[k] = len(from.Records[k])
	}
	r.group.Reserve(counts)
	done, err := r.group.Recover(from)
	if err != nil {
		return err
	}
	renewed := r.group.RenewLeases(r.renewLease)
	held := r.group.Leases()
	released := r.balancer.releaseExcept(func(l backend.Lease) bool { return held[l] })
	pruned := 0
	if path != nil && path.Adopted() {
		if pruned, err = path.Prune(done.InKernel); err != nil {
			return err
		}
	}
	r.startKernelPath(b)
	r.log.Warn("going on with the sessions of a process that died", "pid", c.header.PID, "dead_ms", c.dead.Milliseconds(),
		"sessions", done.Kept, "in_kernel", done.InKernelCount(), "ended", done.Ended, "unfit", done.Unfit, "damaged", damaged,
		"kernel_entries_deleted", pruned, "leases_renewed", renewed, "leases_released", released,
		"took_ms", time.Since(began).Milliseconds())
	if stateErr != nil {
		r.log.Warn("backends and bindings of the process that died are not known", "reason", stateErr)
	}
	return nil
}

// renewLease returns the lease of a session that goes on after a crash. If the balancer does not
// know it, which is as it was some time before the crash, it learns of the session.
func (r *relay) renewLease(q backend.Query, at backend.Backend, l backend.Lease) backend.Lease {
	memory := r.balancer.memory
	if l != 0 && memory.Knows(l) {
		return l
	}
	l = memory.Admit(q, at).Lease
	memory.Report(backend.Outcome{Lease: l, Fate: backend.FateBegan})
	return l
}

// recoverShared restores what the shards share. After an error backends are those of the
// configuration.
func (r *relay) recoverShared(c *crashed) error {
	b, err := c.header.State(c.file)
	if err != nil {
		return err
	}
	parts, err := snapshotParts(b)
	if err != nil {
		return err
	}
	boot, err := udp.AtMonotonic(0)
	if err != nil {
		return err
	}
	return r.restoreBackends(parts, boot, time.Now())
}

// restoreBackends restores the parts of a snapshot that are about backends.
func (r *relay) restoreBackends(parts map[message.Number][]byte, boot, now time.Time) error {
	// The balancer's bindings, and what is written to Redis, refer to backends.
	refused, err := r.registry.Restore(parts[snapshotBackends], boot, now)
	if err != nil {
		return err
	}
	for _, b := range refused {
		r.log.Warn("backend left out", "backend", string(b.New.ID), "address", b.New.Addr, "error", b.Err)
	}
	if err := r.registry.SetStatic(r.config.Backends, r.config.Weights, now); err != nil {
		return err
	}
	if err := r.balancer.memory.Restore(parts[snapshotBalancer], boot); err != nil {
		return err
	}
	if part := parts[snapshotShared]; part != nil && r.balancer.shared != nil {
		if err := r.balancer.shared.Restore(part, boot); err != nil {
			return err
		}
	}
	return nil
}

// discardStored closes what the service manager has kept, which this process does not need: it
// takes over from a process that runs.
func (r *relay) discardStored() {
	for _, one := range r.stored {
		_ = udp.CloseFD(one.FD)
	}
	r.stored = nil
}

// survives reports whether the sessions go on in the next process after this one has failed.
func (r *relay) survives(err error) bool {
	_, panicked := errors.AsType[*shard.PanicError](err)
	return panicked && r.checkpointer != nil && r.checkpointer.holds()
}

// crash ends a process whose shard has panicked, and leaves its sessions to the next one.
func (r *relay) crash(end func()) {
	r.crashing = true
	r.checkpointer.stop()
	r.log.Warn("sessions are left to the next process")
	end()
	r.eventLog.Wait()
	r.eventFile.stop()
}

// storedNames are the names with the service manager of what a predecessor had.
func (b *predecessor) storedNames() []string {
	if b == nil {
		return nil
	}
	return b.names
}
