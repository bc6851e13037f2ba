package probe

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/backend"
)

// watched is a prober at work on a changing registry, on the bubble's clock.
// No backend answers unless it is in alive.
type watched struct {
	*testing.T
	*backend.Registry

	mu    sync.Mutex
	asked map[netip.AddrPort]int
	alive map[netip.AddrPort]bool
}

func watch(t *testing.T, r *backend.Registry) *watched {
	w := &watched{T: t, Registry: r, asked: map[netip.AddrPort]int{}, alive: map[netip.AddrPort]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	var run sync.WaitGroup
	run.Go(func() { scripted(r, quiet, w.answer).Run(ctx, nil) })
	t.Cleanup(func() { cancel(); run.Wait() })
	return w
}

func (w *watched) answer(_ context.Context, to netip.AddrPort) (uint16, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[to]++
	if w.alive[to] {
		return 2, nil
	}
	return 0, errSilence
}

// expect lets all settle and checks how often everybody has been asked since
// the last call.
func (w *watched) expect(what string, want map[netip.AddrPort]int) {
	w.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if !maps.Equal(w.asked, want) {
		w.Errorf("%s: asked %v, want %v", what, w.asked, want)
	}
	clear(w.asked)
}

func port(n int) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Loopback(), uint16(n)) }

type counts = map[netip.AddrPort]int

func TestFollowsTheRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, backend.NewRegistry())
		w.alive[port(1)], w.alive[port(2)], w.alive[port(3)] = true, true, true
		w.expect("nobody yet", counts{})
		w.Put(backend.Backend{ID: "a", Addr: port(1), Down: true})
		w.expect("one that is added is asked at once", counts{port(1): 1})
		if b, _ := w.Snapshot().Find("a"); b.Down || b.KeyLen != 2 {
			t.Errorf("%+v", b)
		}
		w.Put(backend.Backend{ID: "b", Addr: port(2), Down: true})
		time.Sleep(10 * interval)
		w.expect("both, every second", counts{port(1): 10, port(2): 11})

		w.Put(backend.Backend{ID: "b", Addr: port(3), Down: true})
		time.Sleep(interval / 2)
		w.expect("one that moved is asked at once, and there only", counts{port(3): 1})
		time.Sleep(10 * interval)
		w.expect("one that moved", counts{port(1): 10, port(3): 10})

		w.Remove("a")
		w.Remove("b")
		time.Sleep(time.Minute)
		w.expect("those that were removed", counts{})
		if len(w.Snapshot().Backends) != 0 {
			t.Error("an answer brought a removed backend back")
		}
		w.Put(backend.Backend{ID: "a", Addr: port(1), Down: true})
		w.expect("one that came back", counts{port(1): 1})
	})
}

// The answer of an old address says nothing of the new one.
func TestMovedWhileAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := backend.NewRegistry()
		r.Put(backend.Backend{ID: "a", Addr: port(1), Down: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		scripted(r, quiet, func(_ context.Context, to netip.AddrPort) (uint16, error) {
			if to == port(1) {
				r.Put(backend.Backend{ID: "a", Addr: port(2), Down: true})
				synctest.Wait()
				return 4, nil
			}
			return 0, errSilence
		}).Run(ctx, nil)
		if b, _ := r.Snapshot().Find("a"); !b.Down || b.KeyLen != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// A silent backend is asked ever more seldom, until its heartbeat or its
// callers' evidence asks for it; but not as often as they come.
func TestAskedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, backend.NewRegistry())
		g := backend.Registration{Server: "s", Service: "1", PID: "1"}
		heartbeat := func() {
			t.Helper()
			if _, err := w.Register(g, port(1), time.Now(), time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		heartbeat()
		time.Sleep(time.Minute + interval/2)
		w.expect("silence for a minute", counts{port(1): 10}) // 0, 0.1, 0.2, 1.2, 3.2, 7.2, 15.2, 30.2, 45.2, 60.2
		heartbeat()
		w.expect("a heartbeat", counts{port(1): 1})
		for range 1000 {
			heartbeat()
			time.Sleep(time.Millisecond)
		}
		w.expect("a storm of heartbeats", counts{port(1): 10})
		w.mu.Lock()
		w.alive[port(1)] = true
		w.mu.Unlock()
		heartbeat()
		time.Sleep(2 * suspectInterval)
		if b, _ := w.Snapshot().Find(g.ID()); b.Down {
			t.Errorf("%+v", b)
		}
		time.Sleep(interval / 2)
		w.expect("it is back", counts{port(1): 1})
		heartbeat()
		w.expect("the heartbeat of one that lives", counts{})
		w.MarkDown(g.ID())
		w.expect("found dead by callers", counts{port(1): 1})
	})
}

// Two hundred and more are each asked once a second, without more sockets at a
// time than there are slots; and a burst of removals ends their loops.
func TestManyBackends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = maxProbes + 50
		r := backend.NewRegistry()
		var mu sync.Mutex
		now, most, total := 0, 0, 0
		ctx, cancel := context.WithCancel(t.Context())
		var run sync.WaitGroup
		run.Go(func() {
			scripted(r, quiet, func(ctx context.Context, _ netip.AddrPort) (uint16, error) {
				mu.Lock()
				now, total = now+1, total+1
				most = max(most, now)
				mu.Unlock()
				_ = pause(ctx, time.Millisecond, nil)
				mu.Lock()
				now--
				mu.Unlock()
				return 0, nil
			}).Run(ctx, nil)
		})
		synctest.Wait() // or one that is put while Run begins is asked twice
		for i := range n {
			r.Put(backend.Backend{ID: backend.ID(fmt.Sprint("b", i)), Addr: port(i + 1), Down: true})
		}
		time.Sleep(interval / 2)
		mu.Lock()
		if most != maxProbes || total != n {
			t.Errorf("%d asked, at most %d at once", total, most)
		}
		mu.Unlock()
		for _, b := range r.Snapshot().Backends {
			if b.Down {
				t.Fatalf("%+v", b)
			}
			r.Remove(b.ID)
		}
		time.Sleep(time.Minute)
		cancel()
		run.Wait()
		if total != n {
			t.Errorf("%d asked after they were removed", total-n)
		}
	})
}

// Whoever goes while the prober is busy with others who came is not asked for
// ever after.
func TestNobodyIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, backend.NewRegistry())
		for i := range 5000 {
			id := backend.ID(fmt.Sprint("b", i))
			w.Put(backend.Backend{ID: id, Addr: port(i + 1), Down: true})
			w.Remove(id)
		}
		synctest.Wait()
		w.mu.Lock()
		clear(w.asked)
		w.mu.Unlock()
		time.Sleep(time.Minute)
		w.expect("all are gone", counts{})
	})
}

// The bug: a relay short of descriptors took all its backends for dead.
func TestOwnFaultIsNobodysMiss(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EMFILE, syscall.ENOBUFS} {
		if err := localFault(&net.OpError{Op: "dial", Err: os.NewSyscallError("socket", errno)}); !errors.Is(err, errLocal) || !errors.Is(err, errno) {
			t.Errorf("%v is not seen as this host's own", err)
		}
	}
	if err := localFault(syscall.EHOSTUNREACH); errors.Is(err, errLocal) {
		t.Error("a host that cannot be reached is this host's own fault")
	}
}
