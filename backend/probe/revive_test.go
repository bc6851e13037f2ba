package probe

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/backend"
)

// reviver is a prober that runs on the bubble's clock, and whose backends
// answer when they are alive.
func reviver(t *testing.T, r *backend.Registry) (*Prober, *watched) {
	w := &watched{T: t, Registry: r, asked: counts{}, alive: map[netip.AddrPort]bool{}}
	p := scripted(r, quiet, w.answer)
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { p.Run(ctx, nil) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return p, w
}

// A static backend that is back is found by the caller whom nobody could take,
// not by its next probe, seconds later.
func TestReviveFindsABackendThatIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := registry(false, port(1))
		p, w := reviver(t, r)
		time.Sleep(time.Minute) // down, and probed every 15 s
		synctest.Wait()
		w.mu.Lock()
		w.alive[port(1)] = true
		w.mu.Unlock()
		begin := time.Now()
		if !p.Revive(t.Context()) || time.Since(begin) != 0 || r.Snapshot().Backends[0].Down {
			t.Errorf("after %v: %+v", time.Since(begin), r.Snapshot().Backends[0])
		}
		synctest.Wait() // its own loop asks it at once, too
		w.mu.Lock()
		clear(w.asked)
		w.mu.Unlock()
		time.Sleep(10*interval + interval/2)
		w.expect("it is probed as one that lives", counts{port(1): 10})
	})
}

// The bug: after a moment without network, in which all backends were down, callers went to
// the backend whose answer came first, away from their stream's own, which answered 1 ms later.
func TestReviveWaitsForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := backend.NewRegistry()
		for k := range uint16(3) {
			_ = r.Put(backend.Backend{ID: backend.ID(fmt.Sprint(k)), Addr: port(1 + int(k)), Down: true})
		}
		after := map[netip.AddrPort]time.Duration{port(1): 0, port(2): time.Millisecond, port(3): time.Hour}
		p := scripted(r, quiet, func(ctx context.Context, at netip.AddrPort) (uint16, error) {
			select {
			case <-ctx.Done():
				return 0, ctx.Err()
			case <-time.After(after[at]):
				return 0, nil
			}
		})
		begin := time.Now()
		if !p.Revive(t.Context()) || time.Since(begin) != othersAnswer {
			t.Errorf("returned after %v, want %v", time.Since(begin), othersAnswer)
		}
		for _, b := range r.Snapshot().Backends {
			if b.Down != (b.Addr == port(3)) {
				t.Errorf("%s is down: %v", b.Addr, b.Down)
			}
		}
		p.end()
	})
}

// A round asks each backend once, no more than its share of them, and none that
// would take no streams anyway.
func TestReviveIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := backend.NewRegistry()
		for i := range 3 * maxRevive {
			_ = r.Put(backend.Backend{ID: backend.ID(fmt.Sprintf("b-%03d", i)), Addr: port(100 + i), Down: true})
		}
		_ = r.Put(backend.Backend{ID: "draining", Addr: port(1), Down: true, Draining: true})
		_ = r.Put(backend.Backend{ID: "late", Addr: port(2), Down: true, Expires: time.Now().Add(-time.Second)})
		_ = r.Put(backend.Backend{ID: "alive", Addr: port(3)})
		_ = r.Put(backend.Backend{ID: "unresolved", Down: true})
		w := &watched{T: t, Registry: r, asked: counts{}, alive: map[netip.AddrPort]bool{}}
		p := scripted(r, quiet, w.answer)
		ever := counts{}
		for range 8 {
			if p.Revive(t.Context()) {
				t.Error("somebody answered")
			}
			if len(w.asked) != maxRevive {
				t.Errorf("%d asked in a round", len(w.asked))
			}
			for at, n := range w.asked {
				if n != 1 || at.Port() < 100 {
					t.Errorf("%v asked %d times", at, n)
				}
				ever[at]++
			}
			clear(w.asked)
		}
		if len(ever) != 3*maxRevive {
			t.Errorf("%d of %d were ever asked", len(ever), 3*maxRevive)
		}
		p.end()
	})
}

// A backend that comes up while it is asked is found by the repetition.
func TestAskRepeats(t *testing.T) {
	l := listen(t, "127.0.0.1", silent)
	got := make(chan error, 1)
	go func() {
		_, err := ask(context.Background(), l.addr)
		got <- err
	}()
	<-l.heard
	l.become(answering(2, nil))
	if err := <-got; err != nil {
		t.Error(err)
	}
}
