package traffic

// Counts are datagrams by kind.
type Counts struct {
	Data      uint64 `json:"data"`
	ACK       uint64 `json:"ack"`
	ACKACK    uint64 `json:"ackack"`
	NAK       uint64 `json:"nak"`
	Keepalive uint64 `json:"keepalive"`
	Other     uint64 `json:"other"`
}

// Total is all of them.
func (c Counts) Total() uint64 {
	return c.Data + c.ACK + c.ACKACK + c.NAK + c.Keepalive + c.Other
}

// Percentiles of a time, in microseconds.
type Percentiles struct {
	Count uint64  `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// Window is what happened between mark and stop.
type Window struct {
	Seconds  float64 `json:"seconds"`
	Sent     Counts  `json:"sent"`
	Received Counts  `json:"received"`
}

// Handshakes are those of the connecting phase, or of the measured time in
// the modes that do nothing else.
type Handshakes struct {
	Attempted uint64      `json:"attempted"`
	Completed uint64      `json:"completed"`
	Failed    uint64      `json:"failed"`
	PerSecond float64     `json:"per_second"`
	Connect   Percentiles `json:"connect_us"`
}

// Report is one line of a worker's output, as far as the suite reads it.
// Losses count from start to stop, rates and times from mark to stop.
type Report struct {
	Error      string      `json:"error,omitempty"`
	Sessions   int         `json:"sessions"`
	Sent       Counts      `json:"sent"`
	Received   Counts      `json:"received"`
	Lost       uint64      `json:"lost"`
	Duplicated uint64      `json:"duplicated"`
	Reordered  uint64      `json:"reordered"`
	Late       uint64      `json:"late"`
	Lag        Percentiles `json:"lag_us"`
	Latency    Percentiles `json:"latency_us"`
	Histogram  string      `json:"histogram,omitempty"`
	Window     Window      `json:"window"`
	Handshakes Handshakes  `json:"handshakes"`
	CPUSeconds float64     `json:"cpu_seconds"`
}
