package shard

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/internal/srttest"
	"srtrelay/udp"
)

// world is a group whose loops run, between fake callers and a fake backend that count what
// arrives. The group may be taken over by another one.
type world struct {
	*Group
	t        testing.TB
	cfg      Config
	balancer *fakeBalancer
	backend  *srttest.Listener
	sessions []*srttest.Session

	senders sync.WaitGroup
	stopped atomic.Bool
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	listener, err := srttest.NewListener(srttest.ListenerConfig{
		Local: netip.MustParseAddrPort("127.0.0.1:0"), Rate: 200, PayloadSize: 200,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w := &world{t: t, backend: listener, balancer: &fakeBalancer{}}
	w.balancer.target = backend.Target{ID: "b1", Addr: listener.Addr(), Lease: 7}
	w.cfg = Config{
		Listen: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")},
		Shards: 2, Batch: 64, UpstreamPorts: 2,
		Sockets:     udp.Options{GRO: true, GSO: true, RecvBuf: 8 << 20, SendBuf: 8 << 20},
		MaxSessions: 4000, MaxHalfOpen: 1000, MaxHalfOpenPerSource: 1000,
		Telemetry:   true,
		IdleTimeout: time.Hour, BackendSilence: time.Hour, // no busy machine is silent for so long
		Registry: backend.NewRegistry(), Resolver: w.balancer,
		Log: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	for _, c := range change {
		c(&w.cfg)
	}
	if w.Group, err = Open(w.cfg); err != nil {
		t.Fatal(err)
	}
	w.Start()
	t.Cleanup(func() { w.Stop() })
	return w
}

// port opens another caller's port.
func (w *world) port() *srttest.CallerPort {
	w.t.Helper()
	p, err := srttest.NewCallerPort(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = p.Close() })
	return p
}

// connect establishes n sessions.
func (w *world) connect(n int) {
	w.t.Helper()
	for range n {
		s, err := w.port().Dial(w.t.Context(), w.Addrs()[0], srttest.CallerOptions{StreamID: "#!::r=live/x,m=publish"})
		if err != nil {
			w.t.Fatal(err)
		}
		w.sessions = append(w.sessions, s)
	}
	if _, err := w.backend.AwaitConnections(w.soon(), n); err != nil {
		w.t.Fatal(err)
	}
}

// soon is a context that ends when a test has waited for too long.
func (w *world) soon() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

// underWay is how many packets of a session may be under way to the backend: those of all
// sessions fit into its socket's buffer, though a busy machine may not empty it for a while.
const underWay = 100

// traffic has both ends of every session send numbered packets until settle.
func (w *world) traffic() {
	w.t.Cleanup(func() { w.stopped.Store(true); w.senders.Wait() })
	w.backend.SetMode(srttest.Source)
	for _, s := range w.sessions {
		c := w.connectionOf(s)
		w.senders.Go(func() {
			tick := time.NewTicker(2 * time.Millisecond)
			defer tick.Stop()
			for range tick.C {
				if w.stopped.Load() {
					return
				}
				if s.Counters().Sent >= c.Counters().Received+underWay {
					continue
				}
				if err := s.SendData(make([]byte, 100)); err != nil {
					w.t.Errorf("send: %v", err)
					return
				}
			}
		})
	}
}

// connectionOf is a session's connection at the backend.
func (w *world) connectionOf(s *srttest.Session) *srttest.Connection {
	w.t.Helper()
	for _, c := range w.backend.Connections() {
		if c.Conclusion.SocketID() == s.ID() && c.ISN == s.ISN() {
			return c
		}
	}
	w.t.Fatalf("no connection of socket ID %d", s.ID())
	return nil
}

// settle ends the traffic and checks that all of it has arrived once and in order. It returns
// how much it was.
func (w *world) settle() (packets uint64) {
	w.t.Helper()
	w.stopped.Store(true)
	w.senders.Wait()
	w.stopped.Store(false)
	w.backend.SetMode(srttest.Sink)
	// The source may have one more tick to come, which ends it.
	var up, down, upSent, downSent srttest.Counters
	sums := func() bool {
		up, down, upSent, downSent = srttest.Counters{}, srttest.Counters{}, srttest.Counters{}, srttest.Counters{}
		for _, s := range w.sessions {
			addCounters(&down, &upSent, s.Counters())
		}
		for _, c := range w.backend.Connections() {
			addCounters(&up, &downSent, c.Counters())
		}
		return up.Received >= upSent.Sent && down.Received >= downSent.Sent
	}
	deadline := time.Now().Add(10 * time.Second)
	for before := ^uint64(0); (!sums() || downSent.Sent != before) && time.Now().Before(deadline); {
		before = downSent.Sent
		time.Sleep(20 * time.Millisecond) // four ticks of the source
	}
	for _, c := range []struct {
		way      string
		sent     uint64
		received srttest.Counters
	}{{"to the backend", upSent.Sent, up}, {"to the callers", downSent.Sent, down}} {
		r := c.received
		if r.Received != c.sent || r.Lost != 0 || r.Duplicated != 0 || r.Reordered != 0 || r.Stale != 0 {
			w.t.Errorf("%s: %d sent, %d received, %d lost, %d duplicated, %d reordered, %d stale; counters %v",
				c.way, c.sent, r.Received, r.Lost, r.Duplicated, r.Reordered, r.Stale, w.nonzero())
		}
		if r.Shutdowns != 0 {
			w.t.Errorf("%s: %d SHUTDOWNs", c.way, r.Shutdowns)
		}
	}
	return upSent.Sent + downSent.Sent
}

// addCounters adds what one end received and sent.
func addCounters(received, sent *srttest.Counters, c srttest.Counters) {
	received.Received += c.Received
	received.Lost += c.Lost
	received.Duplicated += c.Duplicated
	received.Reordered += c.Reordered
	received.Stale += c.Stale
	received.Shutdowns += c.Shutdowns
	sent.Sent += c.Sent
}

// nonzero returns the counters of all shards that are not 0.
func (w *world) nonzero() map[string]uint64 {
	m := map[string]uint64{}
	for _, st := range w.Stats() {
		for k, n := range st.Values {
			if n != 0 {
				m[fmt.Sprintf("%d/%s", st.Shard, Counter(k))] += n
			}
		}
	}
	return m
}

// sum adds a counter of all shards.
func (w *world) sum(k Counter) (n uint64) {
	for _, st := range w.Stats() {
		n += st.Values[k]
	}
	return n
}

// freeze freezes the group.
func (w *world) freeze() [][]byte {
	w.t.Helper()
	parts, _, err := w.Freeze(w.soon())
	if err != nil {
		w.t.Fatal(err)
	}
	return parts
}

// passOn lists the sockets as another process gets them.
func (w *world) passOn() []Socket {
	w.t.Helper()
	all, err := w.Sockets(w.soon())
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

// successor opens a group that takes over from this one, which is frozen, and restores it.
func (w *world) successor(change ...func(*Config)) *Group {
	w.t.Helper()
	cfg := w.cfg
	cfg.Origin, cfg.Adopt = w.Origin(), w.passOn()
	for _, c := range change {
		c(&cfg)
	}
	next, err := Open(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.cfg = cfg
	for k, part := range w.freeze() {
		if err := next.Restore(k, part); err != nil {
			next.Close()
			w.t.Fatal(err)
		}
	}
	return next
}

// takeOver replaces the group by its successor.
func (w *world) takeOver(change ...func(*Config)) {
	w.t.Helper()
	next := w.successor(change...)
	next.Start()
	w.Abandon()
	w.Group = next
	w.Settle()
}
