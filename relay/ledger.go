package relay

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"srtrelay/addr"
	"srtrelay/internal/supervise"
	"srtrelay/shard"
	"srtrelay/shard/ledger"
	"srtrelay/udp"
)

// maxFormer bounds the callers of a killed process that get a SHUTDOWN: as many as the
// rate allows before the last of them would time out.
const maxFormer = 200_000

// sessionLedger is the file of --session-ledger. It holds the records that a killed
// process left, and then this one's. A nil sessionLedger is off.
type sessionLedger struct {
	path string
	file *udp.PrivateFile // nil if nothing can be written
	log  *slog.Logger

	former  []ledger.Record // callers of a process that was killed
	pid     int             // of that process
	damaged int             // records that could not be used
	others  int             // callers of listen addresses that this process has not
	until   time.Time       // when the last caller has timed out
}

// openLedger reads the records of a killed process and begins a ledger for this one. If
// that fails, it logs why, and the relay runs without a ledger. takenOver says that the group
// has taken over the sessions of a process that may still resume: its file makes way, but is
// not read or changed.
func openLedger(path string, takenOver bool, group *shard.Group, log *slog.Logger) *sessionLedger {
	if path == "" {
		return nil
	}
	without := func(err error) {
		log.Warn("no session ledger: callers are not told after a SIGKILL", "path", path, "reason", err)
	}
	if takenOver {
		if err := udp.DisplacePrivate(path); err != nil {
			without(err)
			return nil
		}
	}
	file, err := udp.OpenPrivate(path)
	if err != nil {
		without(err)
		return nil
	}
	l := &sessionLedger{path: path, file: file, log: log}
	boot, now, err := bootClock()
	if err == nil {
		if !takenOver {
			if err := l.read(boot, now, group); err != nil {
				log.Warn("the session ledger of an earlier process is ignored", "path", path, "reason", err)
			}
		}
		err = l.begin(boot, now, group)
	}
	if err != nil {
		without(err)
		l.close(false)
		l.file = nil
	}
	return l
}

// bootClock returns the kernel's boot ID and the time since boot.
func bootClock() (boot [16]byte, now time.Duration, err error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return boot, 0, err
	}
	id, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(id) != len(boot) {
		return boot, 0, fmt.Errorf("boot ID %q: not a UUID", text)
	}
	now, err = udp.SinceBoot()
	return [16]byte(id), now, err
}

// read collects the callers of the killed process. The error says why there are none.
func (l *sessionLedger) read(boot [16]byte, now time.Duration, group *shard.Group) error {
	size, err := l.file.Size()
	if err != nil || size == 0 {
		return err // 0: a new file
	}
	var head ledger.Header
	unusable := ledger.ErrTruncated
	listener := map[int]uint8{} // the index now, by the index then
	err = l.file.Data(func(offset int64, b []byte) bool {
		if offset == 0 {
			if head, unusable = ledger.Decode(b, size); unusable == nil {
				unusable = head.Usable(boot, now)
			}
			for then, a := range head.Listen {
				isA := func(ap netip.AddrPort) bool { return addr.From(ap) == a }
				if i := slices.IndexFunc(group.Fronts(), isA); i >= 0 {
					listener[then] = uint8(i)
				}
			}
		}
		if unusable != nil {
			return false
		}
		l.damaged += head.Scan(offset, b, func(r ledger.Record) { l.collect(r, listener) })
		return len(l.former) < maxFormer
	})
	l.pid = head.PID
	l.until = time.Now().Add(ledger.MaxAge - (now - head.Heartbeat))
	if err = errors.Join(unusable, err); err != nil {
		l.former = nil
		return err
	}
	switch {
	case l.others > 0 && len(l.former) == 0:
		return fmt.Errorf("none of the %d callers in it dialled an address that this process listens on", l.others)
	case l.damaged > 0 && len(l.former) == 0:
		return fmt.Errorf("all of its %d records are damaged", l.damaged)
	}
	return nil
}

// collect keeps a caller if this process has its listen address.
func (l *sessionLedger) collect(r ledger.Record, listener map[int]uint8) {
	i, ours := listener[int(r.Listener)]
	switch {
	case !ours:
		l.others++
	case len(l.former) < maxFormer:
		r.Listener = i
		l.former = append(l.former, r)
	}
}

// begin empties the file and has the group write its records there.
func (l *sessionLedger) begin(boot [16]byte, now time.Duration, group *shard.Group) error {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand, Go 1.24)
	h := ledger.Header{
		Boot: boot, PID: os.Getpid(), Nonce: binary.LittleEndian.Uint64(nonce[:]),
		Shards: len(group.Stats()), PerShard: group.LedgerPlaces(), Heartbeat: now,
	}
	for _, a := range group.Fronts() {
		h.Listen = append(h.Listen, addr.From(a))
	}
	if err := l.file.Reset(h.Size()); err != nil {
		return err
	}
	if err := l.file.Reserve(0, ledger.HeaderSize); err != nil {
		return err
	}
	if err := h.Encode(l.file.Bytes()); err != nil {
		return err
	}
	return group.UseLedger(&h, l.file.Bytes(), l.file.Reserve)
}

// start writes heartbeats until ctx ends, and tells the callers of the killed process.
// The group must have been started.
func (l *sessionLedger) start(ctx context.Context, tasks *supervise.Tasks, group *shard.Group) {
	if l == nil {
		return
	}
	if l.file != nil {
		tasks.Loop(ctx, "session ledger", l.writeHeartbeats)
	}
	tasks.Go("callers of before", func() { l.tellFormer(ctx, group) })
}

// writeHeartbeats writes the time to the ledger until ctx ends.
func (l *sessionLedger) writeHeartbeats(ctx context.Context) {
	supervise.Every(ctx, ledger.HeartbeatEvery, func(time.Time) {
		if now, err := udp.SinceBoot(); err == nil {
			ledger.SetHeartbeat(l.file.Bytes(), now)
		}
	})
}

// tellFormer sends a SHUTDOWN to each caller of the killed process.
func (l *sessionLedger) tellFormer(ctx context.Context, group *shard.Group) {
	if len(l.former) == 0 {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, l.until)
	defer cancel()
	sent := group.ShutDownFormerCallers(ctx, l.former)
	l.log.Info("callers of a killed process told", "pid", l.pid, "callers", len(l.former), "sent", sent,
		"other_addresses", l.others, "damaged", l.damaged)
	l.former = nil
}

// reclaim gives the file its name again when this process resumes after a take-over. Its
// records are those of the sessions that resume. Callers that only the other process had are
// told, as those of a killed process are.
func (l *sessionLedger) reclaim(tasks *supervise.Tasks, group *shard.Group) {
	if l == nil || l.file == nil || !l.file.Displaced() {
		return
	}
	successor := l.readSuccessor(group)
	if err := l.file.Reclaim(); err != nil {
		l.log.Warn("the session ledger cannot be renamed back: callers are not told after a SIGKILL", "error", err)
	}
	if len(successor.former) > 0 {
		tasks.Go("callers of the successor", func() { successor.tellFormer(context.Background(), group) })
	}
}

// readSuccessor reads the ledger of a process that has taken over and is dead. One that still
// runs has no callers of its own: it has not been committed.
func (l *sessionLedger) readSuccessor(group *shard.Group) *sessionLedger {
	next := &sessionLedger{log: l.log}
	file, err := udp.OpenPrivate(l.path)
	if err != nil {
		return next
	}
	defer file.Close()
	next.file = file
	boot, now, err := bootClock()
	if err == nil {
		err = next.read(boot, now, group)
	}
	if err != nil {
		l.log.Warn("the session ledger of the successor is ignored", "path", l.path, "reason", err)
	}
	return next
}

// close closes the file, and removes it unless keep is true: then its callers are still
// to be told. The group must have stopped.
func (l *sessionLedger) close(keep bool) {
	if l == nil || l.file == nil {
		return
	}
	if !keep {
		if err := l.file.Remove(); err != nil {
			l.log.Warn("the session ledger is not removed", "error", err)
		}
	}
	_ = l.file.Close() // on a tmpfs: no write can fail
}
