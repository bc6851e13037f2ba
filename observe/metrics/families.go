package metrics

import "srtrelay/shard"

// family is a metric: its name without the prefix, its help text, and its label beside the
// shard, if any.
type family struct {
	name, help, label string
}

// series is one counter's place in a family.
type series struct {
	family
	value string // of the label
}

// Families of several counters.
var (
	received        = family{"datagrams_received_total", "Datagrams received, by the side they came from.", "side"}
	receivedBytes   = family{"received_bytes_total", "UDP payload bytes received, by the side they came from.", "side"}
	forwarded       = family{"datagrams_forwarded_total", "Datagrams forwarded unchanged, by direction.", "direction"}
	forwardedBytes  = family{"forwarded_bytes_total", "UDP payload bytes forwarded unchanged, by direction.", "direction"}
	dropped         = family{"dropped_datagrams_total", "Datagrams received that went nowhere, by reason.", "reason"}
	kernelForwarded = family{"kernel_path_datagrams_total", "Datagrams forwarded by the kernel path, which srtrelay_datagrams_forwarded_total counts too, by direction.", "direction"}
	sendDropped     = family{"send_dropped_datagrams_total", "Datagrams that could not be sent, by reason.", "reason"}
	capped          = family{"handshakes_capped_total", "Handshakes refused at a cap, by the cap.", "reason"}
)

// Label values of sides and directions.
const (
	front     = "front"
	back      = "back"
	toBackend = "to_backend"
	toCaller  = "to_caller"
)

// seriesOf returns the series of counter k.
func seriesOf(k shard.Counter) series {
	switch {
	case k.IsDrop():
		return series{dropped, k.String()}
	case k.IsSendDrop():
		return series{sendDropped, k.String()}
	}
	if s, ok := described[k.String()]; ok {
		return s
	}
	// An undescribed counter is exported under its own name; a test fails until it is
	// described.
	f := family{name: k.String(), help: "Shard counter " + k.String() + "."}
	if !k.IsGauge() {
		f.name += "_total"
	}
	return series{f, ""}
}

// described are the series of all counters except drops, by the name of the counter.
var described = map[string]series{
	"received_front":             {received, front},
	"received_back":              {received, back},
	"received_front_bytes":       {receivedBytes, front},
	"received_back_bytes":        {receivedBytes, back},
	"forwarded_to_backend":       {forwarded, toBackend},
	"forwarded_to_caller":        {forwarded, toCaller},
	"forwarded_to_backend_bytes": {forwardedBytes, toBackend},
	"forwarded_to_caller_bytes":  {forwardedBytes, toCaller},
	"answered":                   alone("answered_datagrams_total", "Datagrams received that the relay replied to itself."),
	"parked":                     alone("parked_datagrams_total", "Datagrams received and held until their backend is known."),
	"passed_on":                  alone("passed_on_datagrams_total", "Datagrams received that are of another relay's session, and sent there or held until that relay is known."),
	"consumed":                   alone("consumed_datagrams_total", "Datagrams received that were meant for the relay itself."),

	"sent":          alone("sent_datagrams_total", "Datagrams sent."),
	"sent_bytes":    alone("sent_bytes_total", "UDP payload bytes sent."),
	"send_calls":    alone("send_calls_total", "System calls that sent a batch."),
	"receive_calls": alone("receive_calls_total", "System calls that received a batch."),
	"turns":         alone("loop_turns_total", "Turns of the shard's loop."),
	"waits":         alone("loop_waits_total", "Turns that slept until something arrived."),
	"gatherings":    alone("loop_gatherings_total", "Turns after which datagrams were left to gather."),
	"stalls":        alone("loop_stalls_total", "Times that a shard was stopped for 250 ms or longer."),

	"inductions":               alone("inductions_total", "INDUCTION requests answered."),
	"reinductions":             alone("reinductions_total", "INDUCTION replies to a stale cookie."),
	"handshakes":               alone("handshakes_total", "CONCLUSION requests that opened a handshake."),
	"established":              alone("handshakes_established_total", "Handshakes that became a session."),
	"rejected":                 alone("handshakes_rejected_total", "Rejections sent to callers, the relay's own and those of backends."),
	"replays":                  alone("handshake_replays_total", "Handshake responses sent again to a caller that asked again."),
	"leg_retries":              alone("backend_handshake_retries_total", "Handshake datagrams sent again to a backend."),
	"failovers":                alone("handshake_failovers_total", "Handshakes moved to another backend because one did not answer, was gone, or had no room."),
	"shutdowns_made":           alone("shutdowns_made_total", "SHUTDOWN packets made by the relay."),
	"refusals":                 alone("refusals_total", "ICMP errors about datagrams sent."),
	"backends_lost":            alone("backends_lost_total", "Backends found dead, by a refusal that probes have confirmed."),
	"at_session_cap":           {capped, "sessions"},
	"at_source_session_cap":    {capped, "source_sessions"},
	"at_source_connects":       {capped, "source_connects"},
	"at_source_bitrate":        {capped, "source_bitrate"},
	"at_subnet_sessions":       {capped, "subnet_sessions"},
	"at_subnet_connects":       {capped, "subnet_connects"},
	"at_subnet_bitrate":        {capped, "subnet_bitrate"},
	"at_stream_players":        {capped, "stream_players"},
	"at_stream_blocked":        {capped, "stream_blocked"},
	"streams_over_limit":       alone("publishers_over_limit_total", "Publishers that were found above the bitrate of their stream."),
	"at_handshake_cap":         {capped, "half_open"},
	"at_source_cap":            {capped, "source"},
	"overload_players":         {capped, "overload_players"},
	"overload_publishers":      {capped, "overload_publishers"},
	"letters":                  alone("letters_total", "Datagrams handed to the shard that owns their session, which counts them as received."),
	"migration_candidates":     alone("migration_candidates_total", "Addresses that a session's caller could have moved to, and that were challenged."),
	"migration_challenges":     alone("migration_challenges_total", "Challenges sent, to new addresses and to the sessions' own."),
	"migrations":               alone("migrations_total", "Sessions that followed their caller to another address."),
	"events_lost":              alone("events_lost_total", "Events lost because their queue was full."),
	"kernel_path_to_backend":   {kernelForwarded, toBackend},
	"kernel_path_to_caller":    {kernelForwarded, toCaller},
	"kernel_path_bytes":        alone("kernel_path_bytes_total", "UDP payload bytes that the kernel path has forwarded, both directions."),
	"kernel_path_records":      alone("kernel_path_records_total", "Heads of datagrams that the kernel path has reported for the telemetry."),
	"kernel_path_records_lost": alone("kernel_path_records_lost_total", "Heads of datagrams for which there was no space: the telemetry misses them."),
	"kernel_path_handovers":    alone("kernel_path_handovers_total", "Directions of sessions handed over to the kernel path while datagrams passed."),
	"kernel_path_not_entered":  alone("kernel_path_not_entered_total", "Attempts of sessions to enter the kernel path that failed; the shard relays them."),
	"kernel_path_sessions":     alone("kernel_path_sessions", "Sessions that the kernel path relays."),
	"kernel_drops":             alone("kernel_drops_total", "Datagrams that the kernel dropped at a full receive buffer."),
	"upstream_failed":          alone("upstream_failed_total", "Upstream sockets that could not be opened, for example for lack of descriptors: their callers were refused with 2402."),
	"offload_lost":             alone("offload_lost_total", "Destinations for which superpackets were given up: datagrams go there one by one until the next attempt."),

	"sessions":   alone("sessions", "Sessions in any state."),
	"half_open":  alone("half_open_handshakes", "Sessions whose handshake is not complete."),
	"tombstones": alone("tombstones", "Ended sessions kept for late datagrams."),

	"sources":         alone("sources", "Caller addresses and subnets that are counted for limits, also those that had a session moments ago."),
	"sources_live":    alone("sources_live", "Caller addresses and subnets that have sessions."),
	"streams_blocked": alone("blocked_streams", "Streams whose publishers are rejected because one was above its bitrate."),

	"receive_queued_bytes": alone("receive_queued_bytes", "Kernel memory of the datagrams that wait to be received, up to a second old."),
	"batch_bytes":          alone("batch_bytes", "Memory of the batch that receive calls fill: it grows and shrinks with the traffic."),
	"send_queued_bytes":    alone("send_queued_bytes", "Kernel memory of the datagrams that wait to be sent, up to a second old."),
}

// alone returns a family with one series per shard.
func alone(name, help string) series { return series{family: family{name: name, help: help}} }
