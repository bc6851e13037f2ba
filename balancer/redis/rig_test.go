package redis

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// relay is a Balancer with what it stands on.
type relay struct {
	*testing.T
	*Balancer
	reg *backend.Registry
	log *journal
	// unhurried has rounds follow each other as usual from now on.
	unhurried func()
}

// hurry is the time between two rounds of a relay of the tests, which mostly wait for what a
// round brings. Each of them renews all bindings, as the first one after a take-over does.
const hurry = 200 * time.Millisecond

// journal is a log that can be read.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(p)
}

func (j *journal) count(word string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.text.String(), word)
}

// open starts a relay. Settings may change its memory's.
func open(t *testing.T, servers Servers, settings ...func(*balancer.Memory)) *relay {
	t.Helper()
	return openWith(t, 0, servers, settings...)
}

// openWith starts a relay with n static backends, which live. As in the relay
// itself they are there before Redis is asked: a server that was first learnt
// from there would be a second one for a while.
func openWith(t *testing.T, n int, servers Servers, settings ...func(*balancer.Memory)) *relay {
	t.Helper()
	return openFor(t, 30*time.Second, n, servers, settings...)
}

// patience is how long a relay of the tests waits for Redis: a host that is busy makes no
// outage. It is less than until waits.
var patience = waits{pick: 20 * time.Second, sync: 20 * time.Second, dial: 10 * time.Second}

// openFor is openWith for heartbeats that are good for ttl.
func openFor(t *testing.T, ttl time.Duration, n int, servers Servers, settings ...func(*balancer.Memory)) *relay {
	t.Helper()
	return openWaiting(t, patience, ttl, n, servers, settings...)
}

// openWaiting is openFor with bounds of calls to Redis.
func openWaiting(t *testing.T, w waits, ttl time.Duration, n int, servers Servers, settings ...func(*balancer.Memory)) *relay {
	t.Helper()
	r := &relay{T: t, reg: backend.NewRegistry(), log: new(journal)}
	for i := range n {
		r.reg.Put(static(i))
	}
	memory := balancer.NewMemory(r.reg, time.Now)
	for _, set := range settings {
		set(memory)
	}
	r.Balancer = Open(Options{
		Servers: servers, Registry: r.reg, Memory: memory, TTL: ttl,
		Log: slog.New(slog.NewTextHandler(r.log, nil)), waits: w,
	})
	t.Cleanup(r.Close)
	r.unhurried = hurries(t, r.Balancer)
	return r
}

// hurries has the rounds of a Balancer follow each other sooner, until stop is called.
func hurries(t *testing.T, b *Balancer) (stop func()) {
	stop = repeat(hurry, b.handover.renewSoon)
	t.Cleanup(stop)
	return stop
}

// repeat calls f now and again and again, until stop is called.
func repeat(every time.Duration, f func()) (stop func()) {
	f()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f()
			}
		}
	}()
	return sync.OnceFunc(func() { close(done); <-ended })
}

func at(addr string) Servers { return Servers{Mode: "single", Addrs: []string{addr}} }

// random makes two relays disagree unless something makes them agree.
func random(m *balancer.Memory) { m.Policy = balancer.PolicyRandom }

// playersFollow has players create no streams.
func playersFollow(m *balancer.Memory) { m.PlayersCreate = false }

func (r *relay) ready() *relay {
	r.Helper()
	until(r.T, "Redis to be in use", func() bool { ok, _, _ := r.State(); return ok && r.Reached() })
	return r
}

func static(i int) backend.Backend {
	host := fmt.Sprintf("127.0.0.1:%d", 30000+i)
	return backend.Backend{ID: backend.ID(host), Source: backend.SourceStatic, Host: host, Addr: netip.MustParseAddrPort(host)}
}

// register is the heartbeat of an SRS process; the backend answers probes.
func (r *relay) register(name string, port int, rtmp ...string) backend.ID {
	r.Helper()
	reg := backend.Registration{
		IP: "127.0.0.1", Device: "origin", Server: "vid-" + name, Service: "k3j9x2ab", PID: "4321",
		RTMP: rtmp, SRT: []string{fmt.Sprintf("udp://0.0.0.0:%d", port)},
	}
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(port))
	a, err := r.reg.Register(reg, addr, time.Now(), 30*time.Second)
	if err != nil {
		r.Fatal(err)
	}
	r.reg.MarkAlive(a.Backend.ID, 0, time.Now())
	return a.Backend.ID
}

func (r *relay) ask(q backend.Query) backend.Target {
	r.Helper()
	t, err := r.Pick(context.Background(), q)
	if err != nil {
		r.Fatalf("%+v: %v", q, err)
	}
	return t
}

func (r *relay) stream(key string) backend.Target {
	r.Helper()
	return r.ask(backend.Query{Key: key, Publish: true})
}

func key(i int) string { return fmt.Sprintf("__defaultVhost__/live/stream-%d", i) }

// resolvers is how many goroutines of a crowd ask, as many as the relay's resolver has.
const resolvers = 16

// crowd asks for n streams at the same time, of which first is the number of the first one.
func (r *relay) crowd(first, n int) []backend.ID {
	got := make([]backend.ID, n)
	var all sync.WaitGroup
	for w := range resolvers {
		all.Go(func() {
			for i := w; i < n; i += resolvers {
				t, err := r.Pick(context.Background(), backend.Query{Key: key(first + i), Publish: true})
				if err != nil {
					r.Errorf("%s: %v", key(first+i), err)
				}
				got[i] = t.ID
			}
		})
	}
	all.Wait()
	return got
}

// known waits until a relay knows a backend, and lets it answer a probe.
func (r *relay) known(id backend.ID) backend.Backend {
	r.Helper()
	until(r.T, fmt.Sprintf("%s to be known", id), func() bool { _, ok := r.reg.Snapshot().Find(id); return ok })
	r.reg.MarkAlive(id, 0, time.Now())
	b, _ := r.reg.Snapshot().Find(id)
	return b
}

// Release ends a session that was established and lived.
func (r *relay) Release(l backend.Lease) {
	r.Report(backend.Outcome{Lease: l, Fate: backend.FateBegan})
	r.Report(backend.Outcome{Lease: l, Fate: backend.FateEnded, Lasted: time.Hour})
}
