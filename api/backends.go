package api

import (
	"net/http"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
)

// Load is what one backend carries.
type Load struct {
	Sessions int
	Streams  int
}

// Ejection is what outlier detection thinks of one backend.
type Ejection struct {
	Ejected, Returning bool
	Until              time.Time
	Why                string
	Times              uint64
}

// Known is what the relay knows of its backends at one moment.
type Known struct {
	Snapshot *backend.Snapshot
	// Seen holds the exact times of the last signs of life; see
	// backend.Registry.Seen.
	Seen map[backend.ID]time.Time
	// Loads and Bitrates, in bit/s, may lack a backend that carries nothing.
	Loads    map[backend.ID]Load
	Bitrates map[backend.ID]float64
	// Ejections may lack a backend that was never ejected.
	Ejections map[backend.ID]Ejection
	Now       time.Time
}

// View is what an operator sees of the backends, by ID.
func View(k Known) []answer.Backend {
	all := make([]answer.Backend, 0, len(k.Snapshot.Backends))
	for _, b := range k.Snapshot.Backends {
		updated := b.Answered
		if at := k.Seen[b.ID]; at.After(updated) {
			updated = at
		}
		late := b.Late(k.Now)
		e := answer.Backend{
			ID: string(b.ID), Address: addressOf(b), Problem: b.Problem, Alive: !b.Down && !late, Late: late,
			Draining: b.Draining, Source: string(b.Source),
			RegisteredAt: b.Added.UTC(), UpdatedAt: updated.UTC(), ExpiresAt: b.Expires.UTC(),
			Sessions: k.Loads[b.ID].Sessions, Streams: k.Loads[b.ID].Streams, Bitrate: k.Bitrates[b.ID],
			Weight: max(b.Weight, 1), KeyLength: int(b.KeyLen) * 8,
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

// addressOf is a backend's address, "" while its name does not resolve.
func addressOf(b backend.Backend) string {
	if !b.Addr.IsValid() {
		return ""
	}
	return b.Addr.String()
}

func (h *handler) backends(w http.ResponseWriter, _ *http.Request) {
	list := answer.BackendList{Backends: h.rooms.Backends.Backends()}
	list.Total = len(list.Backends)
	for i := range list.Backends {
		if list.Backends[i].Alive {
			list.Alive++
		}
	}
	write(w, http.StatusOK, reply{Data: list})
}
