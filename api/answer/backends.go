package answer

import "time"

// BackendList is the answer to GET /api/v1/backends.
type BackendList struct {
	Total    int       `json:"total"`
	Alive    int       `json:"alive"`
	Backends []Backend `json:"backends"`
}

// Backend is one server.
type Backend struct {
	ID string `json:"id"`
	// Address is "" while the backend's name does not resolve.
	Address string `json:"address"`
	// Problem says why there is no address, or why the one that the name has
	// now is not taken; "" for none.
	Problem  string `json:"problem,omitempty"`
	Alive    bool   `json:"alive"`
	Late     bool   `json:"late"`
	Draining bool   `json:"draining"`
	// Ejected says that outlier detection gives it no new streams while others
	// can take them; Returning, that a few try it again.
	Ejected   bool `json:"ejected"`
	Returning bool `json:"returning,omitempty"`
	// EjectedUntil is when it may be tried, EjectedBecause why it was ejected.
	EjectedUntil   time.Time `json:"ejected_until,omitzero"`
	EjectedBecause string    `json:"ejected_because,omitempty"`
	// Ejections counts all that there were.
	Ejections    uint64    `json:"ejections"`
	Source       string    `json:"source"`
	RegisteredAt time.Time `json:"registered_at,omitzero"`
	UpdatedAt    time.Time `json:"updated_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"`
	Sessions     int       `json:"sessions"`
	Streams      int       `json:"streams"`
	Weight       int       `json:"weight"`
	// Bitrate is what it carries at present, both ways together, in bit/s.
	Bitrate float64 `json:"bitrate_bps"`
	// KeyLength is in bytes, as SRT's own option counts it.
	KeyLength int `json:"key_length"`
	// What SRS calls itself.
	DeviceID string `json:"device_id,omitempty"`
	Server   string `json:"server,omitempty"`
	Service  string `json:"service,omitempty"`
	PID      string `json:"pid,omitempty"`
}
