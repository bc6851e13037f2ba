package api

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"srtrelay/backend"
)

// Backend is one server as an operator sees it.
type Backend struct {
	ID      backend.ID
	Address string
	// Alive: it answers probes, and its heartbeat, if it needs one, is not
	// late. Late says that it is.
	Alive, Late  bool
	Draining     bool
	Source       backend.Source
	RegisteredAt time.Time
	// UpdatedAt is its last sign of life.
	UpdatedAt time.Time
	// ExpiresAt is when its heartbeat is late, zero for one that needs none.
	ExpiresAt time.Time
	Weight    int
	// KeyLen is the key length the backend advertises: 0 none or not learnt,
	// 2, 3 or 4 for AES-128, 192, 256.
	KeyLen uint16
	// Registration is what it said of itself, nil for nothing.
	Registration *backend.Registration
}

// View is what an operator sees of a snapshot. seen holds the exact times of
// the last signs of life; see backend.Registry.Seen.
func View(snap *backend.Snapshot, seen map[backend.ID]time.Time, now time.Time) []Backend {
	all := make([]Backend, 0, len(snap.Backends))
	for _, b := range snap.Backends {
		updated := b.Answered
		if at := seen[b.ID]; at.After(updated) {
			updated = at
		}
		all = append(all, Backend{
			ID: b.ID, Address: b.Addr.String(), Alive: !b.Down && !b.Late(now), Late: b.Late(now),
			Draining: b.Draining, Source: b.Source,
			RegisteredAt: b.Added, UpdatedAt: updated, ExpiresAt: b.Expires,
			Weight: b.Weight, KeyLen: b.KeyLen, Registration: b.Registration,
		})
	}
	return all
}

// backendEntry is one backend of the answer.
type backendEntry struct {
	ID           backend.ID     `json:"id"`
	Address      string         `json:"address"`
	Alive        bool           `json:"alive"`
	Late         bool           `json:"late"`
	Draining     bool           `json:"draining"`
	Source       backend.Source `json:"source"`
	RegisteredAt time.Time      `json:"registered_at,omitzero"`
	UpdatedAt    time.Time      `json:"updated_at,omitzero"`
	ExpiresAt    time.Time      `json:"expires_at,omitzero"`
	Sessions     int            `json:"sessions"`
	Streams      int            `json:"streams"`
	Weight       int            `json:"weight"`
	// KeyLength is in bytes, as SRT's own option counts it.
	KeyLength int `json:"key_length"`
	// What SRS calls itself.
	DeviceID string `json:"device_id,omitempty"`
	Server   string `json:"server,omitempty"`
	Service  string `json:"service,omitempty"`
	PID      string `json:"pid,omitempty"`
}

// backendList is the answer's data.
type backendList struct {
	Total    int            `json:"total"`
	Alive    int            `json:"alive"`
	Backends []backendEntry `json:"backends"`
}

func (h *handler) backends(w http.ResponseWriter, _ *http.Request) {
	known, loads := h.rooms.Backends.Backends(), h.rooms.Loads.Loads()
	list := backendList{Total: len(known), Backends: make([]backendEntry, 0, len(known))}
	for _, b := range known {
		if b.Alive {
			list.Alive++
		}
		list.Backends = append(list.Backends, entryOf(b, loads[b.ID]))
	}
	slices.SortFunc(list.Backends, func(a, b backendEntry) int { return cmp.Compare(a.ID, b.ID) })
	write(w, http.StatusOK, reply{Data: list})
}

func entryOf(b Backend, l Load) backendEntry {
	e := backendEntry{
		ID: b.ID, Address: b.Address, Alive: b.Alive, Late: b.Late, Draining: b.Draining, Source: b.Source,
		RegisteredAt: b.RegisteredAt.UTC(), UpdatedAt: b.UpdatedAt.UTC(), ExpiresAt: b.ExpiresAt.UTC(),
		Sessions: l.Sessions, Streams: l.Streams, Weight: max(b.Weight, 1), KeyLength: int(b.KeyLen) * 8,
	}
	if g := b.Registration; g != nil {
		e.DeviceID, e.Server, e.Service, e.PID = g.Device, g.Server, g.Service, g.PID
	}
	return e
}
