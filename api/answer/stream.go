package answer

import "time"

// StreamList is the answer to GET /api/v1/streams. StreamQuery has its filters,
// order and bounds.
type StreamList struct {
	Streams []Stream `json:"streams"`
	// Total is how many streams fit the filters.
	Total int `json:"total"`
	// TakenAt is when the shards were asked; an answer may be a second old.
	TakenAt time.Time `json:"taken_at"`
}

// Stream is what its sessions make together. Loss and RTT are of the worst
// session at present.
type Stream struct {
	Key        string     `json:"key"`
	Backend    BackendRef `json:"backend"`
	Sessions   int        `json:"sessions"`
	Publishers int        `json:"publishers"`
	Players    int        `json:"players"`
	Encrypted  bool       `json:"encrypted"`
	Since      time.Time  `json:"since"` // its oldest session's beginning

	// BitrateIn comes from publishers, BitrateOut goes to players, in bit/s.
	BitrateIn  float64 `json:"bitrate_in_bps"`
	BitrateOut float64 `json:"bitrate_out_bps"`
	// Bytes are of the sessions there are.
	BytesIn       uint64 `json:"bytes_in"`
	BytesOut      uint64 `json:"bytes_out"`
	Retransmitted uint64 `json:"retransmitted"`
	Dropped       uint64 `json:"dropped"`

	CallerRTT   *float64 `json:"caller_rtt_ms,omitempty"`
	BackendRTT  *float64 `json:"backend_rtt_ms,omitempty"`
	CallerLoss  *float64 `json:"caller_loss_percent,omitempty"`
	BackendLoss *float64 `json:"backend_loss_percent,omitempty"`

	History *History `json:"history,omitempty"`
}

// StreamDetail is the answer to GET /api/v1/streams/one?key=KEY: a stream with
// all its history and its sessions, at most 1000 of them.
type StreamDetail struct {
	Stream
	SessionList []Session `json:"session_list"`
}

// History is a stream's last two minutes, oldest first, one value per second.
// All lists are equally long; null is a second without a value.
type History struct {
	StepSeconds int        `json:"step_seconds"`
	End         time.Time  `json:"end"` // of the last value
	BitrateIn   []*float64 `json:"bitrate_in_bps"`
	BitrateOut  []*float64 `json:"bitrate_out_bps"`
	CallerRTT   []*float64 `json:"caller_rtt_ms"`
	BackendRTT  []*float64 `json:"backend_rtt_ms"`
	CallerLoss  []*float64 `json:"caller_loss_percent"`
	BackendLoss []*float64 `json:"backend_loss_percent"`
}
