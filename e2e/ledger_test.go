//go:build linux

package e2e

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
	"srtrelay/shard/ledger"
)

// ledgerPath is where a test's relays keep their ledger.
func ledgerPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "srtrelay-e2e")
	if err != nil {
		need.Skip(t, "no directory on a tmpfs: "+err.Error())
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "ledger")
}

// kill ends a relay by SIGKILL.
func (r *relay) kill() {
	r.t.Helper()
	r.killed = true
	r.signal(syscall.SIGKILL)
	r.awaitExit()
}

// again starts a relay at the addresses of one that is gone, which were not of the kernel's
// choice: it would give them to others meanwhile.
func again(t *testing.T, before *relay, args ...string) *relay {
	t.Helper()
	for _, a := range before.all {
		args = append(args, "--listen", a.String())
	}
	return startRelay(t, args...)
}

// awaitShutdown waits until a caller has ended because of a SHUTDOWN.
func awaitShutdown(t *testing.T, s *srttest.Session) {
	t.Helper()
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatalf("caller %d was told nothing within %v", s.ID(), patience)
	}
}

// After SIGKILL the next process sends a SHUTDOWN to every caller of the old one, over both
// address families and from the address that the caller had dialled, and to no caller that
// had left.
func TestCallersOfAKilledRelayAreTold(t *testing.T) {
	t.Parallel()
	path := ledgerPath(t)
	l := startMirror(t)
	args := []string{backendAt(l.Addr()), "--shards", "2", "--session-ledger", path}
	both := netip.AddrPortFrom(netip.IPv6Unspecified(), freeaddr.New().Port())
	r := startRelay(t, append(args, "--listen", both.String(), "--listen", freeaddr.New().String())...)
	dual := func(ip string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), r.all[0].Port()) }
	targets := []netip.AddrPort{dual("::1"), dual("127.0.0.2"), r.all[1]}
	var sessions []*srttest.Session
	for range 4 {
		for _, to := range targets {
			s := mustDial(t, to, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
			echo(t, s, 1)
			sessions = append(sessions, s)
		}
	}
	gone := mustDial(t, targets[2], srttest.CallerOptions{StreamID: "#!::r=live/gone,m=request"})
	must(t, gone.SendShutdown())
	r.awaitLog("session ended", func(logLine) bool { return true })
	r.kill()

	r = again(t, r, args...)
	told := r.awaitLog("callers of a killed process told", func(logLine) bool { return true })
	if n := told.number("sent"); n != int64(len(sessions)) || told.number("damaged") != 0 || told.number("other_addresses") != 0 {
		t.Errorf("told: %v, want %d", told, len(sessions))
	}
	for _, s := range sessions {
		awaitShutdown(t, s)
	}
	st := counted(r, "all SHUTDOWNs counted", func(st stats) bool { return st["shutdowns_made"] == uint64(len(sessions)) })
	if st["send_failed"]+st["send_unreachable"] != 0 {
		t.Errorf("counters %v", st)
	}
	// The new process has a ledger of its own.
	s := mustDial(t, targets[0], srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	r.kill()
	r = again(t, r, args...)
	awaitShutdown(t, s)
	if told := r.awaitLog("callers of a killed process told", func(logLine) bool { return true }); told.number("sent") != 1 {
		t.Errorf("told: %v, want one", told)
	}
}

// A relay that stops in order removes its ledger, and the next one sends no SHUTDOWN.
func TestLedgerOfACleanStopIsRemoved(t *testing.T) {
	t.Parallel()
	path := ledgerPath(t)
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--session-ledger", path)
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	r.signal(syscall.SIGTERM)
	r.awaitExit()
	awaitShutdown(t, s)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the ledger is still there: %v", err)
	}
}

// Two relays with one path: the second says so and runs without, and leaves the
// first one's callers alone.
func TestLedgerOfALiveRelayIsLeftAlone(t *testing.T) {
	t.Parallel()
	path := ledgerPath(t)
	l := startMirror(t)
	args := []string{backendAt(l.Addr()), "--session-ledger", path}
	r := startRelay(t, append(args, "--listen", freeaddr.New().String())...)
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	second := startRelay(t, args...)
	line := second.awaitLog("no session ledger: callers are not told after a SIGKILL", func(logLine) bool { return true })
	if !strings.Contains(line.text("reason"), "another process") {
		t.Errorf("reason %q", line.text("reason"))
	}
	echo(t, mustDial(t, second.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"}), 1)
	second.signal(syscall.SIGTERM)
	second.awaitExit()
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the second has removed the first one's ledger: %v", err)
	}
	echo(t, s, 1)
	r.kill()
	again(t, r, args...)
	awaitShutdown(t, s)
}

// A ledger of another host, boot or address, or a damaged one, is ignored with one line, and
// its callers get nothing.
func TestLedgersThatAreIgnored(t *testing.T) {
	t.Parallel()
	path := ledgerPath(t)
	l := startMirror(t)
	r := startRelay(t, backendAt(l.Addr()), "--shards", "1", "--session-ledger", path, "--listen", freeaddr.New().String())
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"})
	r.awaitLog("session begun", func(logLine) bool { return true })
	r.kill()
	good, err := os.ReadFile(path)
	must(t, err)
	edit := func(fn func(h *ledger.Header)) []byte {
		h, err := ledger.Decode(good, int64(len(good)))
		must(t, err)
		fn(&h)
		b := bytes.Clone(good)
		must(t, h.Encode(b))
		return b
	}
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 4
		return b
	}
	const ignored, without = "the session ledger of an earlier process is ignored", "no session ledger: callers are not told after a SIGKILL"
	for name, c := range map[string]struct {
		content   []byte
		prepare   func()
		msg, says string
	}{
		"truncated":     {good[:len(good)/2], nil, ignored, "truncated"},
		"a few bytes":   {good[:10], nil, ignored, "truncated"},
		"header bit":    {flip(100), nil, ignored, "damaged"},
		"record bit":    {flip(ledger.HeaderSize + 20), nil, ignored, "all of its 1 records are damaged"},
		"another boot":  {edit(func(h *ledger.Header) { h.Boot[3]++ }), nil, ignored, "before the host's last start"},
		"old":           {edit(func(h *ledger.Header) { h.Heartbeat -= 2 * ledger.MaxAge }), nil, ignored, "too old"},
		"other address": {edit(func(h *ledger.Header) { h.Listen[0].Port++ }), nil, ignored, "dialled an address"},
		"open to all":   {good, func() { must(t, os.Chmod(path, 0o644)) }, without, "mode 0600"},
		"a link": {good, func() {
			must(t, os.Rename(path, path+".real"))
			must(t, os.Symlink(path+".real", path))
		}, without, "not a regular file"},
		"another user": {good, func() {
			need.Root(t, "gives a file to another user")
			must(t, os.Chown(path, 54321, 54321))
		}, without, "of this user"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.RemoveAll(path))
			must(t, os.WriteFile(path, c.content, 0o600))
			if c.prepare != nil {
				c.prepare()
			}
			r := again(t, r, backendAt(l.Addr()), "--shards", "1", "--session-ledger", path)
			line := r.awaitLog(c.msg, func(logLine) bool { return true })
			if !strings.Contains(line.text("reason"), c.says) {
				t.Errorf("reason %q, want %q", line.text("reason"), c.says)
			}
			if n := len(r.log(ignored)) + len(r.log(without)); n != 1 {
				t.Errorf("%d lines, want one", n)
			}
			echo(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/x,m=request"}), 1)
			if st := r.stats(); st["shutdowns_made"] != 0 {
				t.Errorf("%d SHUTDOWNs made", st["shutdowns_made"])
			}
			// Stopped in order, or the port would be in use for the next case.
			r.signal(syscall.SIGTERM)
			r.awaitExit()
		})
	}
	select {
	case <-s.Done():
		t.Error("the caller of an ignored ledger was told")
	default:
	}
}

// Real libsrt callers, a publisher and a player, end with the new start: by their
// own timeout, which is a minute here, they would not.
func TestLibsrtCallersOfAKilledRelayEnd(t *testing.T) {
	t.Parallel()
	path := ledgerPath(t)
	o := startOrigin(t, "127.0.0.1")
	args := []string{backendAt(o.addr), "--session-ledger", path}
	r := startRelay(t, append(args, "--listen", freeaddr.New().String())...)
	publisher := livePublish(t, r.addr, "live/x", "peeridletimeo=60000")
	player := livePlay(t, r, "live/x", "peeridletimeo=60000")
	r.kill()
	killed := time.Now()
	r = again(t, r, args...)
	told := r.awaitLog("callers of a killed process told", func(logLine) bool { return true })
	if told.number("sent") != 2 {
		t.Errorf("told: %v", told)
	}
	for _, p := range []*program{publisher, player} {
		select {
		case <-p.done:
		case <-time.After(patience):
			t.Fatalf("%s does not end:\n%s", p.name, p.stderr.bytes())
		}
	}
	t.Logf("both callers ended %v after the SIGKILL", time.Since(killed).Round(time.Millisecond))
}
