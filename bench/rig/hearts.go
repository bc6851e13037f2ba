//go:build linux

package rig

import (
	"sync"
	"time"
)

// heartbeatEvery is SRS's shortest interval.
const heartbeatEvery = time.Second

// hearts post the heartbeats of servers to the relay.
type hearts struct {
	relay *Relay

	mu      sync.Mutex
	beating map[*Server]bool
	refused uint64 // posts that the relay did not take

	ended chan struct{}
	loop  sync.WaitGroup
}

func startHearts(r *Relay) *hearts {
	h := &hearts{relay: r, beating: map[*Server]bool{}, ended: make(chan struct{})}
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

func (h *hearts) all() (all []*Server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.beating {
		all = append(all, s)
	}
	return all
}

func (h *hearts) beat(s *Server) {
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
func (h *hearts) set(s *Server, on bool) {
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

func (h *hearts) stop() {
	close(h.ended)
	h.loop.Wait()
}
