package answer

import "time"

// BackendList is the answer to GET /api/v1/backends.
type BackendList struct {
	Total int `json:"total"`
	Alive int `json:"alive"`
	// Available is how many may get a new stream. If none may, every new stream is
	// rejected, and Unavailable says why.
	Available   int       `json:"available"`
	Unavailable string    `json:"unavailable,omitempty"`
	Backends    []Backend `json:"backends"`
	TakenAt     time.Time `json:"taken_at"`
}

// Backend is an SRT server.
type Backend struct {
	ID string `json:"id"`
	// Address is "" for a name without addresses.
	Address string `json:"address"`
	// Name is the name of the configuration to which the address belongs, "" for
	// none. Left is true after the name has ceased to have the address.
	Name string `json:"name,omitempty"`
	Left bool   `json:"left,omitempty"`
	// Backup is 0 for a backend that takes part in every choice; of the others, those
	// with the least are the first to step in.
	Backup int `json:"backup,omitempty"`
	// Problem says why there is no address, or why the name could not be looked up
	// again; "" for no problem.
	Problem  string `json:"problem,omitempty"`
	Alive    bool   `json:"alive"`
	Late     bool   `json:"late"`
	Draining bool   `json:"draining"`
	// Removed means that a static backend is not in the configuration any more. It is
	// draining, and gone with its last session.
	Removed bool `json:"removed,omitempty"`
	// Ejected is true while outlier detection gives the backend no new streams, unless
	// no other can take them. Returning is true while it gets a few streams to try it.
	Ejected   bool `json:"ejected"`
	Returning bool `json:"returning,omitempty"`
	// EjectedUntil is when the backend may be tried again, EjectedBecause the reason.
	EjectedUntil   time.Time `json:"ejected_until,omitzero"`
	EjectedBecause string    `json:"ejected_because,omitempty"`
	// Ejections counts the ejections so far.
	Ejections    uint64    `json:"ejections"`
	Source       string    `json:"source"`
	RegisteredAt time.Time `json:"registered_at,omitzero"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	Sessions     int       `json:"sessions"`
	Streams      int       `json:"streams"`
	// Weight is the share of new streams in force, ConfiguredWeight the configured one if
	// the operator has ordered another; 0 if not.
	Weight           int `json:"weight"`
	ConfiguredWeight int `json:"configured_weight,omitempty"`
	// OrderedBy is the name of the other relay whose operator has last drained the
	// backend, undrained it or changed its weight; "" for this relay.
	OrderedBy string `json:"ordered_by,omitempty"`
	// Bitrate is the present bitrate of both directions together, in bit/s.
	Bitrate float64 `json:"bitrate_bps"`
	// KeyLength is in bytes, as SRTO_PBKEYLEN.
	KeyLength int `json:"key_length"`
	// From the heartbeat of an SRS server.
	DeviceID string `json:"device_id,omitempty"`
	Server   string `json:"server,omitempty"`
	Service  string `json:"service,omitempty"`
	PID      string `json:"pid,omitempty"`
}

// MaxWeight is the largest weight of a backend.
const MaxWeight = 1000

// Sharing says whether other relays follow an order.
type Sharing string

// What becomes of an order beside its effect at the relay that got it.
const (
	// SharedNot: there is no shared state.
	SharedNot Sharing = ""
	// SharedNow: Redis has the order.
	SharedNow Sharing = "now"
	// SharedPending: Redis gets it when it can be reached again.
	SharedPending Sharing = "pending"
)

// Drained is the answer to POST /api/v1/backends/{id}/drain and undrain.
type Drained struct {
	ID       string  `json:"id"`
	Draining bool    `json:"draining"`
	Shared   Sharing `json:"shared,omitempty"`
}

// Weighed is the answer to POST /api/v1/backends/{id}/weight.
type Weighed struct {
	ID     string  `json:"id"`
	Weight int     `json:"weight"` // 0 for the configured one
	Shared Sharing `json:"shared,omitempty"`
}
