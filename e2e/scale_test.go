//go:build linux

package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"

	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// crowd is many callers' sessions through one relay.
type crowd struct {
	t        *testing.T
	sessions []*srttest.Session
	sent     uint64 // data packets per session
	beats    uint64 // keepalives per session
}

// dialsAtOnce keeps the callers of a crowd far from their 3 s timeout.
const dialsAtOnce = 64

// inFlight is how many sessions of a crowd send before their echoes are
// awaited: no socket buffer on the way is ever near full.
const inFlight = 250

// needBuffers leaves a test out where the kernel grants too little to hold
// what it has under way.
func needBuffers(t *testing.T) {
	t.Helper()
	most := 0
	if b, err := os.ReadFile("/proc/sys/net/core/rmem_max"); err == nil {
		_, _ = fmt.Sscan(string(b), &most)
	}
	if os.Geteuid() != 0 && most < 16<<20 {
		need.Skip(t, "large socket buffers need root, or net.core.rmem_max of 16 MiB")
	}
}

// gather connects ports x perPort sessions, each with a stream of its own.
// The socket IDs differ, so that no session needs an upstream port of its own.
func gather(t *testing.T, r *relay, ports, perPort int) *crowd {
	t.Helper()
	needBuffers(t)
	c := &crowd{t: t, sessions: make([]*srttest.Session, ports*perPort)}
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	turn := make(chan struct{}, dialsAtOnce)
	errs := make([]error, len(c.sessions))
	var dials sync.WaitGroup
	for p := range ports {
		port := openPort(t, loopback)
		for k := range perPort {
			i := p*perPort + k
			turn <- struct{}{}
			dials.Go(func() {
				defer func() { <-turn }()
				c.sessions[i], errs[i] = port.Dial(ctx, r.addr, srttest.CallerOptions{
					SocketID: uint32(1 + i), StreamID: fmt.Sprintf("#!::r=live/s%05d,m=publish", i),
				})
			})
		}
	}
	dials.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("not all connected: %v\n%s", err, r.tail())
	}
	return c
}

// startMirror opens a fake backend that sends everything back, keepalives too.
func startMirror(t *testing.T) *srttest.Listener {
	t.Helper()
	l := startEcho(t)
	l.EchoKeepalives(true)
	return l
}

// turns lets the sessions act in groups, and awaits what each group causes.
func (c *crowd) turns(act func(s *srttest.Session) error, done func(srttest.Counters) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 3*patience)
	defer cancel()
	for first := 0; first < len(c.sessions); first += inFlight {
		group := c.sessions[first:min(first+inFlight, len(c.sessions))]
		for _, s := range group {
			if err := act(s); err != nil {
				c.t.Fatal(err)
			}
		}
		for _, s := range group {
			if err := s.Await(ctx, func() bool { return done(s.Counters()) }); err != nil {
				c.t.Fatalf("session %d: %v; %+v", s.ID(), err, s.Counters())
			}
		}
	}
}

// exchange sends n data packets on every session and awaits their echoes.
func (c *crowd) exchange(n, size int) {
	c.t.Helper()
	c.sent += uint64(n)
	payload := make([]byte, size)
	c.turns(func(s *srttest.Session) error {
		for range n {
			if err := s.SendData(payload); err != nil {
				return err
			}
		}
		return nil
	}, func(got srttest.Counters) bool { return got.Received >= c.sent })
}

// keepalive sends one KEEPALIVE on every session and awaits the backend's.
func (c *crowd) keepalive() {
	c.t.Helper()
	c.beats++
	c.turns((*srttest.Session).SendKeepalive, func(got srttest.Counters) bool { return got.Keepalives >= c.beats })
}

// checkClean fails the test unless every packet arrived once and in order, at
// both ends.
func (c *crowd) checkClean(backends ...*srttest.Listener) {
	c.t.Helper()
	for _, s := range c.sessions {
		checkCleanEnd(c.t, fmt.Sprintf("caller %d", s.ID()), s.Counters(), c.sent)
		if err := s.Err(); err != nil {
			c.t.Errorf("caller %d: %v", s.ID(), err)
		}
	}
	for _, b := range backends {
		for _, conn := range b.Connections() {
			if got := conn.Counters(); got.Received > 0 {
				checkCleanEnd(c.t, "backend of "+conn.StreamID, got, c.sent)
			}
		}
	}
}

func checkCleanEnd(t *testing.T, who string, got srttest.Counters, want uint64) {
	t.Helper()
	if got.Received != want || got.Lost+got.Duplicated+got.Reordered+got.Stale != 0 {
		t.Errorf("%s: want %d packets in order, got %+v", who, want, got)
	}
}

// shutDown ends every session from the caller's side and awaits that the
// relay has freed all of it, the tombstones too.
func (c *crowd) shutDown(r *relay) {
	c.t.Helper()
	for _, s := range c.sessions {
		if err := s.SendShutdown(); err != nil {
			c.t.Fatal(err)
		}
	}
	awaitNothingLeft(r)
}

// awaitNothingLeft waits until no session, handshake or tombstone is left.
func awaitNothingLeft(r *relay) {
	r.t.Helper()
	r.await("everything freed", func(st stats) bool {
		return st["sessions"] == 0 && st["half_open"] == 0 && st["tombstones"] == 0
	})
}

// fetch returns the answer of the API as text, on a connection of its own:
// one that is kept alive would count among the relay's goroutines and files.
func fetch(r *relay, path string) string {
	r.t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(r.api + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		r.t.Fatalf("GET %s: %s %v", path, res.Status, err)
	}
	return string(b)
}

// goroutines counts those of the relay, without what serves the question.
func goroutines(r *relay) (n int) {
	r.t.Helper()
	if _, err := fmt.Sscanf(fetch(r, "/debug/pprof/goroutine?debug=1"), "goroutine profile: total %d", &n); err != nil {
		r.t.Fatal(err)
	}
	return n
}

// awaitResources waits until the relay holds no more goroutines and files
// than it did before; connections of the API take a moment to end.
func awaitResources(r *relay, routines, files int) {
	r.t.Helper()
	var g, f int
	if !eventually(func() bool {
		g, f = goroutines(r), r.openFDs()
		return g <= routines && f <= files
	}) {
		r.t.Errorf("%d goroutines and %d files, at the start %d and %d\n%s", g, f, routines, files,
			fetch(r, "/debug/pprof/goroutine?debug=1"))
	}
}

// startPlainRelay is startRelay without the race detector, whose own memory would hide the
// relay's and whose pace a million datagrams do not need.
func startPlainRelay(t *testing.T, args ...string) *relay {
	t.Helper()
	return startRelayBy(t, nil, []string{plainBinary(t)}, args...)
}

// plainBinary is the relay without the race detector.
func plainBinary(t *testing.T) string {
	t.Helper()
	path, err := buildPlain()
	must(t, err)
	return path
}

var buildPlain = sync.OnceValues(func() (string, error) {
	if !raced {
		return binary, nil
	}
	plain := binary + "-plain"
	return plain, build(plain, false)
})

// awaitLive waits until a backend has n connections.
func awaitLive(t *testing.T, l *srttest.Listener, n int) {
	t.Helper()
	if err := l.Await(patiently(t), func() bool { return l.Live() == n }); err != nil {
		t.Errorf("backend %v has %d connections, want %d", l.Addr(), l.Live(), n)
	}
}
