package backend

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/internal/supervise"
)

// Whoever is called from a loop over the registry may panic: the registry is
// locked for nobody, and the loop goes on.
func TestPanicOfAFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := statics(t, "a.test:1")
		r.Put(Backend{ID: "late", Source: SourceRegistered, Expires: time.Now()})
		s := supervise.New(slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		tasks := s.Tasks()
		lookups, moves, tried := 0, 0, 0
		tasks.Loop(ctx, "names", func(ctx context.Context) {
			r.ResolveNames(ctx, ResolveOptions{
				Lookup: func(context.Context, string, string) ([]netip.Addr, error) {
					if lookups++; lookups == 1 {
						panic("lookup")
					}
					return []netip.Addr{netip.MustParseAddr("10.0.0.2")}, nil
				},
				OnFound:    func(Backend) { moves++; panic("found") },
				OnFail:     func(string, string, int) {},
				OnFirst:    func() { tried++ },
				Supervisor: s,
			})
		})
		tasks.Loop(ctx, "heartbeats", func(ctx context.Context) { r.RunExpiry(ctx, notInUse, func(Backend, string) { panic("gone") }) })
		time.Sleep(keepLate + 3*refreshInterval)
		synctest.Wait()
		if b := find(t, r, "10.0.0.2:1"); b.Addr.String() != "10.0.0.2:1" || moves != 1 || tried != 1 {
			t.Errorf("at %v after %d moves, tried %d times", b.Addr, moves, tried)
		}
		if _, known := r.Snapshot().Find("late"); known {
			t.Error("the late backend is still there")
		}
		cancel()
		tasks.Wait()
		for _, c := range s.Counts() {
			if want := map[string]uint64{"heartbeats": 1, "name look-up": 2}[c.Task]; c.Panics != want {
				t.Errorf("%s: %d panics, want %d", c.Task, c.Panics, want)
			}
		}
	})
}
