package answer

import "time"

// StreamList is the answer to GET /api/v1/streams. StreamQuery has its filters,
// order and bounds.
type StreamList struct {
	Streams []Stream `json:"streams"`
	// Total is the number of streams that match the filters.
	Total int `json:"total"`
	// TakenAt is when the shards were read; the answer may be a second old.
	TakenAt time.Time `json:"taken_at"`
}

// Stream sums up the sessions of a stream. Loss and RTT are the present ones of the worst
// session.
type Stream struct {
	Key        string     `json:"key"`
	Backend    BackendRef `json:"backend"`
	Sessions   int        `json:"sessions"`
	Publishers int        `json:"publishers"`
	Players    int        `json:"players"`
	Encrypted  bool       `json:"encrypted"`
	Since      time.Time  `json:"since"` // beginning of the oldest session

	// BitrateIn comes from publishers, BitrateOut goes to players, in bit/s.
	BitrateIn  float64 `json:"bitrate_in_bps"`
	BitrateOut float64 `json:"bitrate_out_bps"`
	// Bytes are those of the present sessions.
	BytesIn       uint64 `json:"bytes_in"`
	BytesOut      uint64 `json:"bytes_out"`
	Retransmitted uint64 `json:"retransmitted"`
	Dropped       uint64 `json:"dropped"`

	CallerRTT   *float64 `json:"caller_rtt_ms,omitempty"`
	BackendRTT  *float64 `json:"backend_rtt_ms,omitempty"`
	CallerLoss  *float64 `json:"caller_loss_percent,omitempty"`
	BackendLoss *float64 `json:"backend_loss_percent,omitempty"`

	// Rated counts the sessions whose loss is known at present, CallerLossy and
	// BackendLossy those that lose NoticedLoss or more on that leg.
	Rated        int `json:"rated_sessions"`
	CallerLossy  int `json:"caller_lossy_sessions"`
	BackendLossy int `json:"backend_lossy_sessions"`

	History *History `json:"history,omitempty"`
}

// NoticedLoss is the loss of a leg, in percent, from which on somebody should look into
// it. The page's verdict.js has the same number.
const NoticedLoss = 0.1

// StreamDetail is the answer to GET /api/v1/streams/one?key=KEY: a stream with
// all its history and its sessions, at most MaxLimit of them.
type StreamDetail struct {
	Stream
	SessionList []Session `json:"session_list"`
	// TakenAt is when the reading of the shards began. Each session has its own.
	TakenAt time.Time `json:"taken_at"`
}

// History has one value per second for the last two minutes of a stream, oldest first. All
// lists have the same length; null is a second without a value.
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
