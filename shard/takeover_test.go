package shard

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// Twenty take-overs follow each other while numbered packets pass both ways: none is lost,
// duplicated or reordered, and no peer notices.
func TestTakeOversLoseNothing(t *testing.T) {
	w := newWorld(t)
	w.connect(40)
	w.traffic()
	established := w.sum(CountEstablished)
	for k := range 20 {
		w.takeOver(func(c *Config) {
			c.Sockets.GRO = k%2 == 1
			c.Sockets.RecvBuf = (8 + k%3) << 20
		})
		time.Sleep(30 * time.Millisecond) // of traffic
	}
	w.shards[0].inbox.doAlways(func(s *Shard) {})
	if recv, _ := w.GrantedBuffers(); recv != (8+19%3)<<20 {
		need.Root(t, "a receive buffer of 8 MiB")
		t.Errorf("receive buffer of %d bytes after the last take-over", recv)
	}
	packets := w.settle()
	if packets < 5000 {
		t.Errorf("only %d packets passed", packets)
	}
	if n := w.sum(CountEstablished); n != established {
		t.Errorf("%d sessions established in all, want %d", n, established)
	}
	if n := w.sum(CountForwardedToBackend) + w.sum(CountForwardedToCaller); n < packets {
		t.Errorf("%d packets counted, %d have passed", n, packets)
	}
	// They can still be ended, and the numbers of all shards still add up.
	live := w.Live()
	if live != uint64(len(w.sessions)) {
		t.Errorf("%d sessions, want %d", live, len(w.sessions))
	}
}

// A handshake that begins in one process is completed by the next: in whichever state it is,
// without the caller's help.
func TestHandshakeAcrossTakeOver(t *testing.T) {
	dial := func(w *world, style srttest.Style) chan error {
		done, port, at := make(chan error, 1), w.port(), w.Addrs()[0]
		go func() {
			_, err := port.Dial(t.Context(), at, srttest.CallerOptions{Style: style, StreamID: "#!::r=live/x,m=publish"})
			done <- err
		}()
		return done
	}
	for name, style := range map[string]srttest.Style{"libsrt": srttest.LibsrtAsync, "gosrt": srttest.Gosrt} {
		t.Run(name+" resolving", func(t *testing.T) {
			w := newWorld(t)
			w.balancer.mu.Lock()
			w.balancer.hold = true
			w.balancer.mu.Unlock()
			done := dial(w, style)
			for w.sum(CountHandshakes) == 0 {
				time.Sleep(time.Millisecond)
			}
			w.balancer.mu.Lock()
			w.balancer.hold = false
			w.balancer.mu.Unlock()
			w.takeOver()
			if err := <-done; err != nil {
				t.Errorf("%v; counters %v", err, w.nonzero())
			}
		})
		t.Run(name+" connecting", func(t *testing.T) {
			w := newWorld(t)
			w.backend.SilentConclusion(true)
			done := dial(w, style)
			for w.backend.Stats().Ignored == 0 {
				time.Sleep(time.Millisecond)
			}
			next := w.successor()
			w.backend.SilentConclusion(false)
			next.Start()
			w.Abandon()
			w.Group = next
			if err := <-done; err != nil {
				t.Errorf("%v; counters %v", err, w.nonzero())
			}
		})
	}
}

// A relay that was stopped is replaced by one that was not: it takes new callers.
func TestDrainEndsWithTakeOver(t *testing.T) {
	w := newWorld(t)
	for _, s := range w.shards {
		if err := s.inbox.do(t.Context(), func(s *Shard) { s.draining = true }); err != nil {
			t.Fatal(err)
		}
	}
	w.takeOver()
	if _, err := w.port().Dial(t.Context(), w.Addrs()[0], srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"}); err != nil {
		t.Error(err)
	}
}

// The process that was taken over from resumes if its successor dies.
func TestResumeAfterTakeOver(t *testing.T) {
	w := newWorld(t)
	w.connect(8)
	w.traffic()
	for range 5 {
		next := w.successor()
		next.Start()
		time.Sleep(20 * time.Millisecond)
		w.afterDeathOf(next)
	}
	w.settle()
}

// afterDeathOf ends a successor as a SIGKILL does, without a word, and has the group resume.
func (w *world) afterDeathOf(next *Group) {
	w.t.Helper()
	if _, _, err := next.Freeze(w.soon()); err != nil {
		w.t.Fatal(err)
	}
	next.Abandon()
	w.Resume()
}

// Listeners may be added and removed. The sessions of one that is removed go on, and new
// callers there get no answer; it is closed when they have ended.
func TestListenersAcrossTakeOver(t *testing.T) {
	first, second, third := freeaddr.New(), freeaddr.New(), freeaddr.New()
	w := newWorld(t, func(c *Config) { c.Listen = []netip.AddrPort{first, second} })
	w.dial(second)
	w.traffic()

	w.takeOver(func(c *Config) { c.Listen = []netip.AddrPort{third, first} })
	if got := w.Addrs(); !slices.Equal(got, []netip.AddrPort{first, third}) {
		t.Errorf("listens on %v", got)
	}
	if got := w.Fronts(); !slices.Equal(got, []netip.AddrPort{first, second, third}) {
		t.Errorf("fronts %v", got)
	}
	short := srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish", Timeout: 300 * time.Millisecond}
	_, err := w.port().Dial(t.Context(), second, short)
	for soon := w.soon(); w.sum(DropRetired) == 0 && soon.Err() == nil; { // counted after the turn
		time.Sleep(time.Millisecond)
	}
	if err == nil || w.sum(DropRetired) == 0 || w.sum(CountAnswered) > 1 {
		t.Errorf("retired listener: %v, counters %v", err, w.nonzero())
	}
	for _, at := range []netip.AddrPort{first, third} {
		w.dial(at)
	}

	// It is wanted again.
	w.takeOver(func(c *Config) { c.Listen = []netip.AddrPort{first, second} })
	w.dial(second)
	w.settle()

	// Retired with sessions, then without.
	w.takeOver(func(c *Config) { c.Listen = []netip.AddrPort{first} })
	for _, sh := range w.shards {
		if err := sh.inbox.do(t.Context(), func(s *Shard) {
			s.sessions.each(func(i uint32, ss *session) {
				if ss.front == 1 && ss.state == StateEstablished {
					s.endSession(i, ss, CauseKicked)
				}
			})
		}); err != nil {
			t.Fatal(err)
		}
	}
	for w.Live() > 2 || w.sum(CountTombstones) > 0 {
		time.Sleep(20 * time.Millisecond)
	}
	w.takeOver()
	if got := w.Fronts(); !slices.Equal(got, []netip.AddrPort{first, {}, third}) {
		t.Errorf("fronts %v, want the unused one closed", got)
	}
	// One that is added takes the free index.
	w.takeOver(func(c *Config) { c.Listen = []netip.AddrPort{first, second} })
	if got := w.Fronts(); !slices.Equal(got, []netip.AddrPort{first, second, third}) {
		t.Errorf("fronts %v", got)
	}
	w.dial(second)
}

// dial connects another session to one of the listeners.
func (w *world) dial(at netip.AddrPort) {
	w.t.Helper()
	s, err := w.port().Dial(w.t.Context(), at, srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
	if err != nil {
		w.t.Errorf("dial %s: %v", at, err)
		return
	}
	w.sessions = append(w.sessions, s)
}

// Neither descriptors nor goroutines nor mappings are left of fifty take-overs.
func TestTakeOversLeakNothing(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	w := newWorld(t)
	w.connect(4)
	w.takeOver()
	count := func() (files, mappings, goroutines int) {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		maps, err := os.ReadFile("/proc/self/maps")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries), strings.Count(string(maps), "\n"), runtime.NumGoroutine()
	}
	files, mappings, goroutines := count()
	for range 50 {
		w.takeOver()
	}
	f, m, g := count()
	// What the last group's loops have begun in the background ends by itself.
	for soon := w.soon(); g > goroutines && soon.Err() == nil; f, m, g = count() {
		time.Sleep(time.Millisecond)
	}
	if f > files || m > mappings+20 || g > goroutines {
		t.Errorf("%d files, %d mappings, %d goroutines; before %d, %d, %d", f, m, g, files, mappings, goroutines)
	}
	if n := w.Live(); n != 4 {
		t.Errorf("%d sessions left", n)
	}
	for _, s := range w.sessions {
		s.Close()
	}
	w.Stop()
	_ = w.backend.Close()
	for _, s := range w.sessions {
		_ = s.Port().Close()
	}
}

// Sockets that are not those of the configuration are refused with a line that says which,
// and none is left open.
func TestAdoptRefusesWhatDoesNotFit(t *testing.T) {
	w := newWorld(t)
	w.connect(1)
	for name, c := range map[string]struct {
		change func(*Config)
		says   string
	}{
		"fewer shards":    {func(c *Config) { c.Shards = 1 }, "there are 1 shards"},
		"more shards":     {func(c *Config) { c.Shards = 3 }, "3 shards need as many"},
		"one missing":     {func(c *Config) { c.Adopt = c.Adopt[1:] }, "2 shards need as many"},
		"one twice":       {func(c *Config) { c.Adopt[0].Shard = 1 }, "2 shards need as many"},
		"another address": {func(c *Config) { c.Adopt[0].Addr, c.Adopt[1].Addr = freeaddr.New(), freeaddr.New() }, "2 shards need as many of one address"},
		"upstream gap":    {func(c *Config) { c.Adopt[3].Index = 1 }, "number 0 is expected"},
		"unknown kind":    {func(c *Config) { c.Adopt[0].Kind, c.Adopt[1].Kind = "api", "api" }, "unknown kind"},
		"swapped":         {func(c *Config) { c.Adopt[0].FD, c.Adopt[2].FD = c.Adopt[2].FD, c.Adopt[0].FD }, "bound to"},
		"origin":          {func(c *Config) { c.Origin += time.Hour }, "in the future"},
		"another wildcard": {func(c *Config) {
			c.Listen = []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), w.Addrs()[0].Port())}
		}, "by the sessions of 127.0.0.1"},
		"address in use":     {func(c *Config) { c.Listen = append(slices.Clone(c.Listen), w.backend.Addr()) }, "address already in use"},
		"too many listeners": {func(c *Config) { c.Listen = make([]netip.AddrPort, endpointLimit+1) }, "listen addresses"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := w.cfg
			cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
			entries, _ := os.ReadDir("/proc/self/fd")
			fds := len(cfg.Adopt)
			dropped := fds
			c.change(&cfg)
			dropped -= len(cfg.Adopt)
			g, err := Open(cfg)
			if err == nil {
				g.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v, want one line that says %q", err, c.says)
			}
			after, _ := os.ReadDir("/proc/self/fd")
			if left := len(after) - (len(entries) - fds); left != dropped {
				t.Errorf("%d descriptors are left", left)
			}
		})
	}
	w.Resume()
	w.traffic()
	time.Sleep(50 * time.Millisecond)
	w.settle() // the sockets are as they were
}

// A snapshot that cannot be read is an error, and the process that wrote it goes on.
func TestRestoreRefuses(t *testing.T) {
	w := newWorld(t)
	w.connect(4)
	w.traffic()
	cfg := w.cfg
	cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
	next, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	parts := w.freeze()
	if err := next.Restore(2, parts[0]); err == nil {
		t.Error("restored a shard that does not exist")
	}
	if err := next.Restore(0, parts[0][:len(parts[0])/2]); err == nil {
		t.Error("restored from half of a snapshot")
	}
	next.Close() // sends nothing
	w.Resume()
	w.settle()
}

// The ledger of the new process has the sessions that it has restored, beyond the places
// that have memory at the start too.
func TestLedgerAcrossTakeOver(t *testing.T) {
	const sessions = chunkSize + 50
	r := newRig(t, func(c *Config) { c.MaxSessions, c.Events = 2*chunkSize, nil })
	fillSessions(r, sessions, 3)
	r.owner.Start()
	w := &world{Group: r.owner, t: t, cfg: r.owner.cfg}
	t.Cleanup(func() { w.Stop() })
	next := w.successor()
	var f ledgerFile
	f.use(t, next)
	if n := len(f.ids(t)); n != chunkSize {
		t.Errorf("%d recorded at first, want %d", n, chunkSize)
	}
	next.Start()
	w.Abandon()
	t.Cleanup(next.Stop)
	deadline := time.Now().Add(20 * time.Second)
	recorded := 0
	for recorded < sessions && time.Now().Before(deadline) {
		_ = next.shards[0].inbox.do(t.Context(), func(*Shard) { recorded = len(f.ids(t)) })
	}
	if recorded != sessions {
		t.Errorf("%d recorded, want %d", recorded, sessions)
	}
}

// BenchmarkTakeOver measures how long datagrams wait: freeze is what Freeze takes, gap the time
// from there until the new loops run. Both are in one process here; to pass the state on takes
// a copy more.
func BenchmarkTakeOver(b *testing.B) {
	for _, sessions := range []int{1, 100_000} {
		for _, shards := range []int{1, 2} {
			b.Run(fmt.Sprintf("sessions=%d/shards=%d", sessions, shards), func(b *testing.B) { benchmarkTakeOver(b, sessions, shards) })
		}
	}
}

func benchmarkTakeOver(b *testing.B, sessions, shards int) {
	r := newRig(b, func(c *Config) {
		c.Shards, c.MaxSessions, c.Events = shards, sessions/shards+1, nil
		c.IdleTimeout, c.BackendSilence = time.Hour, time.Hour
	})
	for _, s := range r.owner.shards {
		r.Shard = s
		fillSessions(r, sessions/shards+1, 10)
	}
	r.owner.Start()
	w := &world{Group: r.owner, t: b, cfg: r.owner.cfg}
	var freeze, gap time.Duration
	bytes := 0
	for b.Loop() {
		cfg := w.cfg
		cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
		next, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		var counts []int
		for _, st := range w.Stats() {
			counts = append(counts, int(st.Values[CountSessions]))
		}
		next.Reserve(counts)
		began := time.Now()
		parts, took, err := w.Freeze(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		bytes = 0
		var restoring sync.WaitGroup
		for k, part := range parts {
			bytes += len(part)
			restoring.Go(func() {
				if err := next.Restore(k, part); err != nil {
					b.Error(err)
				}
			})
		}
		restoring.Wait()
		next.Start()
		freeze, gap = freeze+took, gap+time.Since(began)
		w.Abandon()
		w.Group = next
	}
	w.Stop()
	n := float64(b.N)
	b.ReportMetric(freeze.Seconds()*1e3/n, "freeze-ms")
	b.ReportMetric(gap.Seconds()*1e3/n, "gap-ms")
	b.ReportMetric(float64(bytes)/1e6, "MB")
}
