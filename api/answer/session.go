package answer

import "time"

// SessionList is the answer to GET /api/v1/sessions. The order of the sessions has no
// meaning. SessionQuery has the filters and bounds.
type SessionList struct {
	Sessions []Session `json:"sessions"`
	// Cursor asks for the next page; absent on the last one. A session that begins or
	// ends meanwhile may be missing, but none is on two pages.
	Cursor string `json:"cursor,omitempty"`
}

// Roles of a session's caller.
const (
	RolePublisher = "publisher"
	RolePlayer    = "player"
)

// Roles are all roles.
var Roles = []string{RolePublisher, RolePlayer}

// Role returns the role of a caller that publishes, or plays.
func Role(publish bool) string {
	if publish {
		return RolePublisher
	}
	return RolePlayer
}

// Names of the two legs, as metrics label them.
const (
	LegCaller  = "caller"
	LegBackend = "backend"
)

// Values of Negotiated.Encryption.
const (
	EncryptionNone   = "none"
	EncryptionAESCTR = "aes-ctr"
	EncryptionAESGCM = "aes-gcm"
)

// Values of Negotiated.GroupType.
const (
	GroupBroadcast = "broadcast"
	GroupBackup    = "backup"
)

// Session is one caller's connection.
type Session struct {
	ID       string     `json:"id"` // for /api/v1/sessions/{id}; never used again
	Shard    int        `json:"shard"`
	State    string     `json:"state"`     // one of shard.StateNames
	Stream   string     `json:"stream"`    // affinity key, "" for the default route
	StreamID string     `json:"stream_id"` // as the caller sent it, without its secrets
	Role     string     `json:"role"`      // one of Roles
	Caller   string     `json:"caller"`    // address and port
	Backend  BackendRef `json:"backend"`
	// Migrations is how often the caller's address has changed.
	Migrations uint16 `json:"migrations,omitempty"`

	// The socket IDs are absent for clients without the token: with the addresses they
	// are all that a forged SHUTDOWN needs.
	CallerSocketID  uint32 `json:"caller_socket_id,omitempty"`
	BackendSocketID uint32 `json:"backend_socket_id,omitempty"`

	OpenedAt        time.Time `json:"opened_at"` // time of the CONCLUSION
	HandshakeMillis float64   `json:"handshake_ms,omitempty"`
	TakenAt         time.Time `json:"taken_at"`     // when all of this was read
	AgeSeconds      float64   `json:"age_seconds"`  // since the handshake was complete
	IdleSeconds     float64   `json:"idle_seconds"` // since the last datagram either way
	// Ended says why a closing session ended; see shard.Cause.
	Ended string `json:"ended,omitempty"`

	SRT Negotiated `json:"srt"`
	// ToBackend and ToCaller are the two directions through the relay. A publisher's
	// media goes to the backend, a player's to the caller.
	ToBackend Way `json:"to_backend"`
	ToCaller  Way `json:"to_caller"`
	// CallerLeg and BackendLeg are the networks on the two sides of the relay.
	CallerLeg  Leg `json:"caller_leg"`
	BackendLeg Leg `json:"backend_leg"`
}

// Negotiated is the result of the handshake.
type Negotiated struct {
	CallerVersion  string `json:"caller_version,omitempty"` // 1.5.3
	BackendVersion string `json:"backend_version,omitempty"`
	// Latencies of the two receivers, in ms.
	LatencyToBackendMillis int    `json:"latency_to_backend_ms,omitempty"`
	LatencyToCallerMillis  int    `json:"latency_to_caller_ms,omitempty"`
	Encryption             string `json:"encryption"`           // see the Encryption constants
	KeyLength              int    `json:"key_length,omitempty"` // in bits: 128, 192 or 256
	KeyRefreshes           uint64 `json:"key_refreshes"`
	GroupID                uint32 `json:"group_id,omitempty"`
	GroupType              string `json:"group_type,omitempty"` // see the Group constants
	Filter                 string `json:"filter,omitempty"`     // FEC configuration
	Congestion             string `json:"congestion,omitempty"`
}

// Way is one direction through the relay.
type Way struct {
	Packets    uint64  `json:"packets"` // all datagrams
	Bytes      uint64  `json:"bytes"`   // their UDP payload
	Bitrate    float64 `json:"bitrate_bps"`
	PacketRate float64 `json:"packets_per_second"`

	DataPackets   uint64 `json:"data_packets"`
	DataBytes     uint64 `json:"data_bytes"`    // media, without SRT headers
	Retransmitted uint64 `json:"retransmitted"` // data packets with the R bit
	FilterPackets uint64 `json:"filter_packets"`
	// LostBefore did not reach the relay; LostBehind were forwarded and had to be
	// retransmitted.
	LostBefore uint64 `json:"lost_before"`
	LostBehind uint64 `json:"lost_behind"`
	// LostReported counts the packets in the receiver's NAKs, each time they are named.
	LostReported uint64 `json:"lost_reported"`
	Duplicated   uint64 `json:"duplicated"`
	Reordered    uint64 `json:"reordered"`
	// Dropped were given up by the sender because they were too late (DROPREQ).
	Dropped uint64 `json:"dropped"`

	ACKs    uint64 `json:"acks"` // from this way's receiver
	NAKs    uint64 `json:"naks"`
	ACKACKs uint64 `json:"ackacks"`
	// Implausible counts ACKs with impossible values, such as an RTT above 10 s, which
	// are otherwise ignored. See the bounds in package telemetry.
	Implausible uint64 `json:"implausible_acks"`
	// Receiver is the content of the last full ACK, absent before the first.
	Receiver *Receiver `json:"receiver,omitempty"`
}

// Receiver is the report of a receiver in a full ACK.
type Receiver struct {
	RTTMillis         float64 `json:"rtt_ms"`
	RTTVarianceMillis float64 `json:"rtt_variance_ms"`
	BufferPackets     uint32  `json:"buffer_available_packets"`
	PacketRate        uint32  `json:"packets_per_second"`
	CapacityPackets   uint32  `json:"link_capacity_packets_per_second"`
	Bitrate           float64 `json:"bitrate_bps"`
}

// Leg is the network on one side of the relay, for the session's media.
type Leg struct {
	// RTT between the relay and the peer. On the media sender's side Measured is true:
	// the relay measures it from ACK to ACKACK. On the other side it is the receiver's
	// RTT less that of the sender's side.
	RTTMillis         *float64 `json:"rtt_ms,omitempty"`
	RTTVarianceMillis *float64 `json:"rtt_variance_ms,omitempty"`
	Measured          bool     `json:"measured"`
	// Loss of media in the last second and since the beginning, in percent.
	LossPercent      *float64 `json:"loss_percent,omitempty"`
	TotalLossPercent *float64 `json:"total_loss_percent,omitempty"`
}
