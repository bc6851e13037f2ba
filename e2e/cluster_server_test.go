//go:build linux

package e2e

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/internal/srsfake"
	"srtrelay/internal/srttest"
)

// server is an SRS process with its SRT listener at addr.
type server struct {
	srsfake.Server
	addr netip.AddrPort
}

// id is the name under which relays and SRS's proxy know it.
func (s server) id() string { return s.ID() }

// serverAt is the n-th server, at an address.
func serverAt(n int, addr netip.AddrPort) server { return server{srsfake.New(n, addr), addr} }

// heartbeatURL is the url of the heartbeats in srs.conf, without a token.
func (r *relay) heartbeatURL() string { return r.api + "/api/v1/srs/register" }

// call asks the API to change something, and returns its status and answer.
func (r *relay) call(method, path, body string) (status int, answer string) {
	r.t.Helper()
	status, answer, err := r.tryCall(method, path, body)
	if err != nil {
		r.t.Fatal(err)
	}
	return status, answer
}

// tryCall is call for goroutines.
func (r *relay) tryCall(method, path, body string) (status int, answer string, err error) {
	req, err := http.NewRequest(method, r.api+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	client := r.client()
	if client.Transport == nil {
		client.Transport = &http.Transport{DisableKeepAlives: true}
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// mustCall fails the test unless the API agrees.
func (r *relay) mustCall(method, path, body string) {
	r.t.Helper()
	if status, answer := r.call(method, path, body); status != http.StatusOK {
		r.t.Fatalf("%s %s: %d %s", method, path, status, answer)
	}
}

// beat posts one heartbeat.
func (r *relay) beat(s server) {
	r.t.Helper()
	if status, answer, err := s.Beat(r.heartbeatURL()); err != nil || status != http.StatusOK {
		r.t.Fatalf("heartbeat of %s: %d %s %v", s.id(), status, answer, err)
	}
}

// drain and undrain do what an operator does.
func (r *relay) drain(id string) { r.mustCall(http.MethodPost, "/api/v1/backends/"+id+"/drain", "") }

func (r *relay) undrain(id string) {
	r.mustCall(http.MethodPost, "/api/v1/backends/"+id+"/undrain", "")
}

// listed is one backend of GET /api/v1/backends.
type listed struct {
	ID, Address, Source   string
	Problem               string
	Alive, Late, Draining bool
	Sessions, Streams     int
	Ejected               bool
	Ejections             uint64
	Weight                int
	OrderedBy             string `json:"ordered_by"`
}

// listing returns the backends by their IDs.
func (r *relay) listing() map[string]listed {
	r.t.Helper()
	var data struct{ Backends []listed }
	r.get("/api/v1/backends", &data)
	all := make(map[string]listed, len(data.Backends))
	for _, b := range data.Backends {
		all[b.ID] = b
	}
	return all
}

// awaitListing waits until the backends satisfy cond.
func (r *relay) awaitListing(what string, cond func(map[string]listed) bool) {
	r.t.Helper()
	if !eventually(func() bool { return cond(r.listing()) }) {
		r.t.Fatalf("%s: not within %v: %v\n%s", what, patience, r.listing(), r.tail())
	}
}

// awaitAlive waits until new streams may go to these servers.
func (r *relay) awaitAlive(servers ...server) {
	r.t.Helper()
	r.awaitListing("servers alive", func(all map[string]listed) bool {
		for _, s := range servers {
			if !all[s.id()].Alive {
				return false
			}
		}
		return true
	})
}

// begunBy waits for the log line of a session's begin.
func (r *relay) begunBy(s *srttest.Session) logLine {
	r.t.Helper()
	return r.awaitLog("session begun", func(l logLine) bool {
		return l.number("caller_id") == int64(s.ID()) && l.text("caller") == s.Port().Addr().String()
	})
}

// heartbeats are those of some servers, one a second from each.
type heartbeats struct {
	mu      sync.Mutex
	servers map[string]server
	rounds  atomic.Int64
	beaten  srttest.Notifier // after every round
}

// startHeartbeats beats for servers at a relay until the test ends.
func startHeartbeats(t *testing.T, r *relay, servers ...server) *heartbeats {
	t.Helper()
	h := &heartbeats{servers: map[string]server{}}
	for _, s := range servers {
		h.servers[s.id()] = s
		r.beat(s)
	}
	stop := make(chan struct{})
	var loop sync.WaitGroup
	loop.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
			}
			for _, s := range h.all() {
				if status, answer, err := s.Beat(r.heartbeatURL()); err != nil || status != http.StatusOK {
					t.Errorf("heartbeat of %s: %d %s %v", s.id(), status, answer, err)
				}
			}
			h.rounds.Add(1)
			h.beaten.Notify()
		}
	})
	t.Cleanup(func() { close(stop); loop.Wait() })
	return h
}

func (h *heartbeats) all() (all []server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.servers {
		all = append(all, s)
	}
	return all
}

// add begins to beat for a server.
func (h *heartbeats) add(r *relay, s server) {
	r.t.Helper()
	r.beat(s)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.servers[s.id()] = s
}

// stop ends the heartbeats of a server, as its death does.
func (h *heartbeats) stop(s server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.servers, s.id())
}

// beatOn waits for n rounds more.
func (h *heartbeats) beatOn(n int) {
	until := h.rounds.Load() + int64(n)
	_ = h.beaten.Await(context.Background(), func() bool { return h.rounds.Load() >= until })
}

// startServers opens n fake backends that register as servers and live.
func startServers(t *testing.T, r *relay, n int) (servers []server, listeners []*srttest.Listener, h *heartbeats) {
	t.Helper()
	for i := range n {
		l := startMirror(t)
		listeners = append(listeners, l)
		servers = append(servers, serverAt(i, l.Addr()))
	}
	h = startHeartbeats(t, r, servers...)
	r.awaitAlive(servers...)
	return servers, listeners, h
}
