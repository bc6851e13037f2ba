package api

import (
	"cmp"
	"net/http"
	"slices"
	"time"

	"srtrelay/backend"
)

// backendEntry is one backend of the answer.
type backendEntry struct {
	ID           backend.ID     `json:"id"`
	Address      string         `json:"address"`
	Alive        bool           `json:"alive"`
	Draining     bool           `json:"draining"`
	Source       backend.Source `json:"source"`
	RegisteredAt time.Time      `json:"registered_at,omitzero"`
	UpdatedAt    time.Time      `json:"updated_at,omitzero"`
	Sessions     int            `json:"sessions"`
	Streams      int            `json:"streams"`
	// KeyLength is in bytes, as SRT's own option counts it.
	KeyLength int `json:"key_length"`
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
		list.Backends = append(list.Backends, backendEntry{
			ID:           b.ID,
			Address:      b.Address,
			Alive:        b.Alive,
			Draining:     b.Draining,
			Source:       b.Source,
			RegisteredAt: b.RegisteredAt.UTC(),
			UpdatedAt:    b.UpdatedAt.UTC(),
			Sessions:     loads[b.ID].Sessions,
			Streams:      loads[b.ID].Streams,
			KeyLength:    int(b.KeyLen) * 8,
		})
	}
	slices.SortFunc(list.Backends, func(a, b backendEntry) int { return cmp.Compare(a.ID, b.ID) })
	write(w, http.StatusOK, reply{Data: list})
}
