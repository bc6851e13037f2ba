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

// mostFormer bounds the callers of a killed process that are told: as many as
// the rate allows before the last of them has given up by itself.
const mostFormer = 200_000

// sessionLedger is the file of --session-ledger: what the process before left
// in it, and this one's records. A nil one is off.
type sessionLedger struct {
	file *udp.PrivateFile // nil if there is none to write
	log  *slog.Logger

	former  []ledger.Record // callers of a process that was killed
	pid     int             // its
	damaged int             // records that were not used
	others  int             // callers of addresses that are not listened on any more
	until   time.Time       // when the last caller has given up
}

// openLedger reads what a killed process left and begins a ledger for this one.
// What goes wrong is a line in the log, and the relay runs without.
func openLedger(path string, group *shard.Group, log *slog.Logger) *sessionLedger {
	if path == "" {
		return nil
	}
	without := func(err error) {
		log.Warn("no session ledger: callers are not told after a SIGKILL", "path", path, "reason", err)
	}
	file, err := udp.OpenPrivate(path)
	if err != nil {
		without(err)
		return nil
	}
	l := &sessionLedger{file: file, log: log}
	boot, now, err := bootClock()
	if err == nil {
		if err := l.read(boot, now, group); err != nil {
			log.Warn("the session ledger of an earlier process is ignored", "path", path, "reason", err)
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

// bootClock returns the kernel's boot ID and the time since the boot.
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

// read collects the callers to tell. The error says why there are none.
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
				if i := slices.IndexFunc(group.Addrs(), isA); i >= 0 {
					listener[then] = uint8(i)
				}
			}
		}
		if unusable != nil {
			return false
		}
		l.damaged += head.Scan(offset, b, func(r ledger.Record) { l.take(r, listener) })
		return len(l.former) < mostFormer
	})
	l.pid = head.PID
	l.until = time.Now().Add(ledger.Young - (now - head.Heartbeat))
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

// take takes one caller, if its listen address is one of ours.
func (l *sessionLedger) take(r ledger.Record, listener map[int]uint8) {
	i, ours := listener[int(r.Listener)]
	switch {
	case !ours:
		l.others++
	case len(l.former) < mostFormer:
		r.Listener = i
		l.former = append(l.former, r)
	}
}

// begin has the group write its records to the file.
func (l *sessionLedger) begin(boot [16]byte, now time.Duration, group *shard.Group) error {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // never fails (crypto/rand, Go 1.24)
	h := ledger.Header{
		Boot: boot, PID: os.Getpid(), Nonce: binary.LittleEndian.Uint64(nonce[:]),
		Shards: len(group.Stats()), PerShard: group.LedgerPlaces(), Heartbeat: now,
	}
	for _, a := range group.Addrs() {
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

// start keeps the ledger alive until ctx ends, and has the callers of the
// process before told. The group must have been started.
func (l *sessionLedger) start(ctx context.Context, tasks *supervise.Tasks, group *shard.Group) {
	if l == nil {
		return
	}
	if l.file != nil {
		tasks.Loop(ctx, "session ledger", l.beat)
	}
	tasks.Go("callers of before", func() { l.tell(ctx, group) })
}

// beat writes the heartbeat until ctx ends.
func (l *sessionLedger) beat(ctx context.Context) {
	tick := time.NewTicker(ledger.HeartbeatEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if now, err := udp.SinceBoot(); err == nil {
				ledger.SetHeartbeat(l.file.Bytes(), now)
			}
		}
	}
}

// tell tells the callers of the process before, whose loops no longer run.
func (l *sessionLedger) tell(ctx context.Context, group *shard.Group) {
	if len(l.former) == 0 {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, l.until)
	defer cancel()
	sent := group.TellFormer(ctx, l.former)
	l.log.Info("callers of a killed process told", "pid", l.pid, "callers", len(l.former), "sent", sent,
		"other_addresses", l.others, "damaged", l.damaged)
	l.former = nil
}

// close removes the file, unless it is kept because it holds callers that
// nobody has told. The group must have stopped.
func (l *sessionLedger) close(keep bool) {
	if l == nil || l.file == nil {
		return
	}
	if !keep {
		if err := l.file.Remove(); err != nil {
			l.log.Warn("the session ledger is not removed", "error", err)
		}
	}
	_ = l.file.Close() // of memory, which cannot fail to be written
}
