package answer

import "time"

// States of a relay in the list of relays.
const (
	RelayAlive = "alive"
	// RelayAway is a relay whose reports have ended without a word: it was killed, or is
	// cut off from the shared state.
	RelayAway = "away"
)

// RelayStates are all states of a relay.
var RelayStates = []string{RelayAlive, RelayAway}

// RelayList is the answer to GET /api/v1/cluster: the relays that share the state with this
// one.
type RelayList struct {
	SharedState SharedState `json:"shared_state"`
	Relays      []Relay     `json:"relays"`
	Alive       int         `json:"alive"`
	Away        int         `json:"away"`
	// Sum is that of the relays that are alive.
	Sum RelaySums `json:"sum"`
	// LeftOut counts relays that are not listed, because there are too many or their
	// report is too long.
	LeftOut int `json:"left_out,omitempty"`
}

// SharedState says how old a view of all relays is.
type SharedState struct {
	// InUse is false while Redis is away. Then all that is shown is as it was at ReadAt.
	InUse bool `json:"in_use"`
	// Since is when InUse has last changed. Problem says why Redis is not in use.
	Since   time.Time `json:"since"`
	Problem string    `json:"problem,omitempty"`
	// ReadAt is when the reports were last read; it is zero if they never were.
	ReadAt time.Time `json:"read_at,omitzero"`
}

// RelaySums are sums over the streams of a relay, or of several.
type RelaySums struct {
	Sessions   int     `json:"sessions"`
	Streams    int     `json:"streams"`
	Publishers int     `json:"publishers"`
	Players    int     `json:"players"`
	BitrateIn  float64 `json:"bitrate_in_bps"`
	BitrateOut float64 `json:"bitrate_out_bps"`
}

// Relay is a relay that shares the state.
type Relay struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Self is true for the relay that answers.
	Self    bool   `json:"self,omitempty"`
	State   string `json:"state"` // one of RelayStates
	Version string `json:"version"`
	// API is the URL of its API, Forward where it takes datagrams that another relay has
	// received.
	API     string `json:"api,omitempty"`
	Forward string `json:"forward,omitempty"`
	// SeenAt is when its last report was written, by the clock of the relay that answers,
	// SeenSeconds how long ago.
	SeenAt      time.Time `json:"seen_at"`
	SeenSeconds float64   `json:"seen_seconds"`
	// UptimeSeconds and all that follows are as of SeenAt.
	UptimeSeconds float64 `json:"uptime_seconds"`
	Shards        int     `json:"shards"`
	RelaySums
	Draining bool   `json:"draining"`
	Overload string `json:"overload,omitempty"`
	// Listed is how many of its streams GET /api/v1/cluster/streams knows.
	Listed int `json:"listed_streams"`
	// Problem says why its report, or its streams, cannot be read.
	Problem string `json:"problem,omitempty"`
}

// ClusterStreamQuery selects streams of all relays, and their order.
type ClusterStreamQuery struct {
	Key     *string // the whole affinity key; nil for any
	Match   string  // part of the key; q in the URL
	Relay   string  // the whole ID or name of a relay
	Backend string  // the whole ID of a backend
	Sort    string  // one of ClusterSortOrders
	Limit   int     // at most this many
	Offset  int     // leave out this many first
}

// ClusterSortOrders are all orders of the streams of all relays; the first is the default.
var ClusterSortOrders = []string{SortBitrate, SortSessions, SortKey}

// ClusterStreamList is the answer to GET /api/v1/cluster/streams.
type ClusterStreamList struct {
	SharedState SharedState     `json:"shared_state"`
	Streams     []ClusterStream `json:"streams"`
	// Total is the number of streams that match the filters.
	Total int `json:"total"`
	// LeftOut counts the streams that relays have and do not list.
	LeftOut int `json:"left_out,omitempty"`
}

// ClusterStream is a stream with its places. Its sums are those of the relays that are
// alive.
type ClusterStream struct {
	Key        string  `json:"key"`
	Sessions   int     `json:"sessions"`
	Publishers int     `json:"publishers"`
	Players    int     `json:"players"`
	BitrateIn  float64 `json:"bitrate_in_bps"`
	BitrateOut float64 `json:"bitrate_out_bps"`
	// Places are the relays that have it, those with a publisher first.
	Places []StreamPlace `json:"places"`
}

// StreamPlace is a stream at one relay.
type StreamPlace struct {
	Relay string `json:"relay"` // its ID
	Name  string `json:"name"`
	// State is that of the relay. At one that is away, the place is the last known.
	State      string     `json:"state"`
	Backend    BackendRef `json:"backend"`
	Sessions   int        `json:"sessions"`
	Publishers int        `json:"publishers"`
	Players    int        `json:"players"`
	BitrateIn  float64    `json:"bitrate_in_bps"`
	BitrateOut float64    `json:"bitrate_out_bps"`
	AgeSeconds float64    `json:"age_seconds"` // of the oldest session
}
