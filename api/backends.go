package api

import (
	"net/http"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
)

// Load counts what a backend carries.
type Load struct {
	Sessions int
	Streams  int
}

// Ejection is the state of a backend in outlier detection.
type Ejection struct {
	Ejected, Returning bool
	Until              time.Time
	Why                string
	Times              uint64
}

// BackendStates is what the relay knows of all backends at one time.
type BackendStates struct {
	Snapshot *backend.Snapshot
	// Seen holds the exact times of the last answers and heartbeats; see
	// backend.Registry.Seen.
	Seen map[backend.ID]time.Time
	// Loads and Bitrates (bit/s) may lack backends that carry nothing.
	Loads    map[backend.ID]Load
	Bitrates map[backend.ID]float64
	// Ejections may lack backends that were never ejected.
	Ejections map[backend.ID]Ejection
	Now       time.Time
}

// DescribeBackends returns the backends as the API shows them, sorted by ID.
func DescribeBackends(k BackendStates) []answer.Backend {
	all := make([]answer.Backend, 0, len(k.Snapshot.Backends))
	for _, b := range k.Snapshot.Backends {
		updated := b.Answered
		if at := k.Seen[b.ID]; at.After(updated) {
			updated = at
		}
		late := b.Late(k.Now)
		e := answer.Backend{
			ID: string(b.ID), Address: addressOf(b), Name: nameOf(b), Left: !b.LeftAt.IsZero(), Backup: int(b.Backup), Problem: b.Problem, Alive: !b.Down && !late, Late: late,
			Draining: b.Draining || b.Removed, Removed: b.Removed, Source: string(b.Source),
			RegisteredAt: b.Added.UTC(), UpdatedAt: updated.UTC(), ExpiresAt: b.Expires.UTC(),
			Sessions: k.Loads[b.ID].Sessions, Streams: k.Loads[b.ID].Streams, Bitrate: k.Bitrates[b.ID],
			Weight: b.Share(), OrderedBy: b.OrderedBy, KeyLength: int(b.KeyLen) * 8,
		}
		if b.OrderedWeight != 0 {
			e.ConfiguredWeight = max(b.Weight, 1)
		}
		if x := k.Ejections[b.ID]; x.Times > 0 {
			e.Ejected, e.Returning, e.EjectedUntil, e.EjectedBecause = x.Ejected, x.Returning, x.Until.UTC(), x.Why
			e.Ejections = x.Times
		}
		if g := b.Registration; g != nil {
			e.DeviceID, e.Server, e.Service, e.PID = g.Device, g.Server, g.Service, g.PID
		}
		all = append(all, e)
	}
	return all
}

// nameOf returns the name of the configuration that a backend belongs to, "" for one
// that was given by its address or not at all.
func nameOf(b backend.Backend) string {
	if b.Source != backend.SourceStatic || b.Addr.IsValid() && b.Host == string(b.ID) {
		return ""
	}
	return b.Host
}

// addressOf returns a backend's address, "" while its name does not resolve.
func addressOf(b backend.Backend) string {
	if !b.Addr.IsValid() {
		return ""
	}
	return b.Addr.String()
}

func (h *handler) backends(w http.ResponseWriter, _ *http.Request) {
	list := answer.BackendList{Backends: h.deps.Backends.Backends()}
	list.TakenAt, list.Total = h.clock.now(), len(list.Backends)
	list.Available, list.Unavailable = h.deps.State.Available()
	for i := range list.Backends {
		if list.Backends[i].Alive {
			list.Alive++
		}
	}
	writeReply(w, http.StatusOK, reply{Data: list})
}

// drain returns the handler that takes a backend out of the choice for new streams,
// or back in. Sessions on the backend go on.
func (h *handler) drain(draining bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := backend.ID(r.PathValue("id"))
		if b, _ := h.deps.Registry.Snapshot().Find(id); b.Removed && !draining {
			writeError(w, http.StatusConflict, "backend "+string(id)+" is not in the configuration any more: put it there again, and reload")
			return
		}
		known, shared := h.deps.Orders.Drain(r.Context(), id, draining)
		if !known {
			writeError(w, http.StatusNotFound, "no such backend: "+answer.Escape(string(id)))
			return
		}
		h.log.Info("backend draining set", "backend", string(id), "draining", draining, "from", r.RemoteAddr)
		writeReply(w, http.StatusOK, reply{Data: answer.Drained{ID: string(id), Draining: draining, Shared: shared}})
	}
}

// weigh sets a backend's share of new streams. Streams that it has stay.
func (h *handler) weigh(w http.ResponseWriter, r *http.Request) {
	id := backend.ID(r.PathValue("id"))
	p := parseQuery(r.URL.RawQuery, "weight")
	weight := p.number("weight", 0, answer.MaxWeight, -1)
	if weight < 0 {
		p.invalid("weight", "missing; 0 is the configured one")
	}
	if p.err != nil {
		writeError(w, http.StatusBadRequest, p.err.Error())
		return
	}
	known, shared := h.deps.Orders.Weight(r.Context(), id, weight)
	if !known {
		writeError(w, http.StatusNotFound, "no such backend: "+answer.Escape(string(id)))
		return
	}
	h.log.Info("backend weight set", "backend", string(id), "weight", weight, "from", r.RemoteAddr)
	writeReply(w, http.StatusOK, reply{Data: answer.Weighed{ID: string(id), Weight: weight, Shared: shared}})
}

// forget removes a registered backend. If it is alive, its next heartbeat registers
// it again.
func (h *handler) forget(w http.ResponseWriter, r *http.Request) {
	id := backend.ID(r.PathValue("id"))
	b, ok := h.deps.Registry.Snapshot().Find(id)
	switch {
	case !ok:
		writeError(w, http.StatusNotFound, "no such backend: "+answer.Escape(string(id)))
		return
	case b.Source == backend.SourceStatic && !b.Removed:
		writeError(w, http.StatusConflict, "backend "+string(id)+" is in the configuration and would come back: drain it")
		return
	case b.Source == backend.SourceShared:
		writeError(w, http.StatusConflict, "backend "+string(id)+" is in the shared state and would come back: drain it")
		return
	}
	h.deps.Registry.Remove(id)
	h.log.Info("backend forgotten", "backend", string(id), "address", b.Addr, "from", r.RemoteAddr)
	writeReply(w, http.StatusOK, reply{})
}
