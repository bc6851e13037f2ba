package answer

import "time"

// SessionList is the answer to GET /api/v1/sessions: sessions by shard and
// age of their place, in no order that means anything. Filters: stream,
// backend, caller, role, state; limit (1 to 1000, 100 unless told); cursor.
type SessionList struct {
	Sessions []Session `json:"sessions"`
	// Cursor asks for what follows; missing at the end. A session that begins
	// or ends meanwhile may be missed, none is told twice.
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
	State    string     `json:"state"`     // resolving, connecting, established, rejected or closing
	Stream   string     `json:"stream"`    // affinity key, "" for the default route
	StreamID string     `json:"stream_id"` // as the caller sent it, without its secrets
	Role     string     `json:"role"`      // one of Roles
	Caller   string     `json:"caller"`    // address and port
	Backend  BackendRef `json:"backend"`

	// The socket IDs are missing for whoever may not know them: with the
	// addresses they are all that a forged SHUTDOWN needs.
	CallerSocketID  uint32 `json:"caller_socket_id,omitempty"`
	BackendSocketID uint32 `json:"backend_socket_id,omitempty"`

	OpenedAt        time.Time `json:"opened_at"` // the CONCLUSION came
	HandshakeMillis float64   `json:"handshake_ms,omitempty"`
	AgeSeconds      float64   `json:"age_seconds"`  // since the handshake was complete
	IdleSeconds     float64   `json:"idle_seconds"` // since the last datagram either way
	// Ended says why a closing session ended: caller, backend, idle, backend
	// silent, backend lost, replaced, kicked, relay stopped.
	Ended string `json:"ended,omitempty"`

	SRT Negotiated `json:"srt"`
	// ToBackend and ToCaller are the two ways through the relay. A publisher's
	// media goes to the backend, a player's to the caller.
	ToBackend Way `json:"to_backend"`
	ToCaller  Way `json:"to_caller"`
	// CallerLeg and BackendLeg are the two networks beside the relay: is it
	// the caller's, or mine?
	CallerLeg  Leg `json:"caller_leg"`
	BackendLeg Leg `json:"backend_leg"`
}

// Negotiated is what the handshake settled.
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

// Way is what went one way through the relay.
type Way struct {
	Packets    uint64  `json:"packets"` // all datagrams
	Bytes      uint64  `json:"bytes"`   // their UDP payload
	Bitrate    float64 `json:"bitrate_bps"`
	PacketRate float64 `json:"packets_per_second"`

	DataPackets   uint64 `json:"data_packets"`
	DataBytes     uint64 `json:"data_bytes"`    // media, without SRT headers
	Retransmitted uint64 `json:"retransmitted"` // data packets with the R bit
	FilterPackets uint64 `json:"filter_packets"`
	// LostBefore never reached the relay, LostBehind were forwarded and had to
	// be sent again: loss before and behind the relay.
	LostBefore uint64 `json:"lost_before"`
	LostBehind uint64 `json:"lost_behind"`
	// LostReported is what the receiver's NAKs name, each time they name it.
	LostReported uint64 `json:"lost_reported"`
	Duplicated   uint64 `json:"duplicated"`
	Reordered    uint64 `json:"reordered"`
	// Dropped were given up by the sender as too late (DROPREQ).
	Dropped uint64 `json:"dropped"`

	ACKs    uint64 `json:"acks"` // from this way's receiver
	NAKs    uint64 `json:"naks"`
	ACKACKs uint64 `json:"ackacks"`
	// Implausible ACKs say of their receiver what cannot be: an RTT above 10 s,
	// 100,000,000 packets/s, a buffer of 2^26 packets. They are counted, up to
	// 65,535, and not shown.
	Implausible uint64 `json:"implausible_acks"`
	// Receiver is what the last full ACK said, missing before the first.
	Receiver *Receiver `json:"receiver,omitempty"`
}

// Receiver is what a way's receiver says of itself in full ACKs.
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
	// RTT between the relay and the peer. Measured is true on the media
	// sender's side, where the relay times ACK to ACKACK; on the other side
	// the RTT is what remains of the receiver's own.
	RTTMillis         *float64 `json:"rtt_ms,omitempty"`
	RTTVarianceMillis *float64 `json:"rtt_variance_ms,omitempty"`
	Measured          bool     `json:"measured"`
	// Loss of media over the last second and since the beginning, in percent.
	LossPercent      *float64 `json:"loss_percent,omitempty"`
	TotalLossPercent *float64 `json:"total_loss_percent,omitempty"`
}
