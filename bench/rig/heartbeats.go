//go:build linux

package rig

import (
	"sync"
	"time"
)

// heartbeatEvery is SRS's shortest interval.
const heartbeatEvery = time.Second

// heartbeats post the heartbeats of servers to the relay.
type heartbeats struct {
	relay *Relay

	mu      sync.Mutex
	beating map[*Server]bool
	refused uint64 // posts that the relay did not take

	ended chan struct{}
	loop  sync.WaitGroup
}

func startHeartbeats(r *Relay) *heartbeats {
	h := &heartbeats{relay: r, beating: map[*Server]bool{}, ended: make(chan struct{})}
	h.loop.Go(func() {
		tick := time.NewTicker(heartbeatEvery)
		defer tick.Stop()
		for {
			select {
			case <-h.ended:
				return
			case <-tick.C:
			}
			for _, s := range h.all() {
				h.beat(s)
			}
		}
	})
	return h
}

func (h *heartbeats) all() (all []*Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.beating {
		all = append(all, s)
	}
	return all
}

func (h *heartbeats) beat(s *Server) {
	if !s.alive() {
		return
	}
	if _, err := h.relay.API.Post("/api/v1/srs/register", s.heartbeat()); err != nil {
		h.mu.Lock()
		h.refused++
		h.mu.Unlock()
	}
}

// set begins the heartbeats of a server, or ends them.
func (h *heartbeats) set(s *Server, on bool) {
	h.mu.Lock()
	if on {
		h.beating[s] = true
	} else {
		delete(h.beating, s)
	}
	h.mu.Unlock()
	if on {
		h.beat(s)
	}
}

func (h *heartbeats) stop() {
	close(h.ended)
	h.loop.Wait()
}
