package relay

import (
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"srtrelay/addr"
	"srtrelay/backend"
	"srtrelay/internal/need"
	"srtrelay/internal/supervise"
	"srtrelay/shard"
	"srtrelay/shard/ledger"
	"srtrelay/udp"
	"srtrelay/wire"
)

// idleGroup opens a group that does not run.
func idleGroup(t *testing.T) *shard.Group {
	t.Helper()
	g, err := shard.Open(shard.Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, Shards: 1, Batch: 16, UpstreamPorts: 1,
		MaxSessions: 100, MaxHalfOpen: 10, MaxHalfOpenPerSource: 10, IdleTimeout: time.Minute, BackendSilence: time.Minute,
		Registry: backend.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Close)
	return g
}

// ledgerNonce returns the nonce of the ledger at a path, which names the file.
func ledgerNonce(t *testing.T, path string) uint64 {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := ledger.Decode(b[:ledger.HeaderSize], int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	return h.Nonce
}

// recordCaller records a caller of a group as a session in a ledger, and returns its socket.
func recordCaller(t *testing.T, l *sessionLedger, group *shard.Group) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	file := l.file.Bytes()
	h, err := ledger.Decode(file[:ledger.HeaderSize], int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	h.Listen = []addr.AddrPort{addr.From(group.Addrs()[0])}
	if err := h.Encode(file); err != nil {
		t.Fatal(err)
	}
	region := h.Region(file, 0)
	region.Put(0, &ledger.Record{Caller: addr.From(c.LocalAddr().(*net.UDPAddr).AddrPort()), CallerID: 77, Gen: 1})
	return c
}

// A process that takes over begins a ledger of its own and tells nobody of the other one's,
// which has its name again if the other one resumes. That one tells the callers which only the
// successor had.
func TestLedgerOfATakeOver(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "srtrelay-test")
	if err != nil {
		need.Skip(t, "no directory on a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path, log := filepath.Join(dir, "ledger"), slog.New(slog.NewTextHandler(os.Stderr, nil))
	first := openLedger(path, false, idleGroup(t), log)
	if first == nil || first.file == nil {
		t.Fatal("no ledger")
	}
	nonce := ledgerNonce(t, path)

	second := openLedger(path, true, idleGroup(t), log)
	if second == nil || second.file == nil || len(second.former) != 0 {
		t.Fatalf("the successor has %+v", second)
	}
	if ledgerNonce(t, path) == nonce {
		t.Error("the successor writes to the file of the process that may resume")
	}
	group := idleGroup(t)
	group.Start()
	tasks := supervise.New(log).Tasks()
	caller := recordCaller(t, second, group)
	_ = second.file.Close() // as a SIGKILL does
	first.reclaim(tasks, group)
	b := make([]byte, 2048)
	_ = caller.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := caller.Read(b); err != nil || !wire.Packet(b[:n]).Is(wire.TypeShutdown) {
		t.Errorf("the successor's caller got %x, %v; want a SHUTDOWN", b[:n], err)
	}
	tasks.Wait()
	group.Stop()
	if ledgerNonce(t, path) != nonce {
		t.Error("the process that resumes has not got its ledger back")
	}
	if _, err := udp.OpenPrivate(path); !errors.Is(err, udp.ErrLocked) {
		t.Errorf("its ledger is not locked: %v", err)
	}

	third := openLedger(path, true, idleGroup(t), log)
	if third == nil || third.file == nil {
		t.Fatal("no ledger after a resume")
	}
	nonce = ledgerNonce(t, path)
	first.close(false)
	if ledgerNonce(t, path) != nonce {
		t.Error("the process that leaves has removed its successor's ledger")
	}
	third.close(false)
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
