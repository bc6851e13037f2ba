package api

import (
	"net/http"

	"srtrelay/api/answer"
	"srtrelay/backend"
)

// drained is the answer to drain and undrain.
type drained struct {
	ID       backend.ID `json:"id"`
	Draining bool       `json:"draining"`
}

// drain returns the handler that sets whether a backend is to get no new
// streams. What runs there goes on.
func (h *handler) drain(draining bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := backend.ID(r.PathValue("id"))
		if !h.rooms.Registry.SetDraining(id, draining) {
			fail(w, http.StatusNotFound, "no such backend: "+answer.Escape(string(id)))
			return
		}
		h.log.Info("backend draining set", "backend", string(id), "draining", draining, "from", r.RemoteAddr)
		write(w, http.StatusOK, reply{Data: drained{id, draining}})
	}
}

// forget removes a backend that has registered. It comes back if it still
// lives, with its next heartbeat.
func (h *handler) forget(w http.ResponseWriter, r *http.Request) {
	id := backend.ID(r.PathValue("id"))
	b, ok := h.rooms.Registry.Snapshot().Find(id)
	switch {
	case !ok:
		fail(w, http.StatusNotFound, "no such backend: "+answer.Escape(string(id)))
		return
	case b.Source == backend.Static:
		fail(w, http.StatusConflict, "backend "+string(id)+" is in the configuration and would come back: drain it")
		return
	case b.Source == backend.Shared:
		fail(w, http.StatusConflict, "backend "+string(id)+" is in the shared state and would come back: drain it")
		return
	}
	h.rooms.Registry.Remove(id)
	h.log.Info("backend forgotten", "backend", string(id), "address", b.Addr, "from", r.RemoteAddr)
	write(w, http.StatusOK, reply{})
}
