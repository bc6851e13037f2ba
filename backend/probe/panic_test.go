package probe

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/internal/supervise"
)

// A probe that panics is one that failed: its backend is probed again, and the
// others are all the time. The start does not wait for it.
func TestPanicOfAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		other := netip.MustParseAddrPort("[::1]:10081")
		r := registry(true, somewhere, other)
		s := supervise.New(slog.New(slog.DiscardHandler))
		var mu sync.Mutex
		asked := map[netip.AddrPort]int{}
		p := scripted(r, quiet, func(_ context.Context, to netip.AddrPort) (uint16, error) {
			mu.Lock()
			asked[to]++
			n := asked[to]
			mu.Unlock()
			if to == somewhere && n <= 2 {
				panic("boom")
			}
			return 2, nil
		})
		p.Supervisor = s
		ctx, cancel := context.WithCancel(t.Context())
		tasks := s.Tasks()
		ready := make(chan struct{})
		tasks.Loop(ctx, "prober", func(ctx context.Context) { p.Run(ctx, func() { close(ready) }) })
		<-ready
		time.Sleep(time.Second)
		for _, b := range r.Snapshot().Backends {
			if b.Down {
				t.Errorf("%s is down", b.ID)
			}
		}
		cancel()
		tasks.Wait()
		for _, c := range s.Counts() {
			if want := map[string]uint64{"probe": 2}[c.Task]; c.Panics != want {
				t.Errorf("%s: %d panics, want %d", c.Task, c.Panics, want)
			}
		}
	})
}
