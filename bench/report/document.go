package report

import (
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Document is a whole report, the content of report.json.
type Document struct {
	Machine  Machine   `json:"machine"`
	Started  time.Time `json:"started"`
	Seconds  float64   `json:"seconds"` // how long the bench took
	Quick    bool      `json:"quick"`   // short windows: the figures are rough
	Rounds   int       `json:"rounds"`
	Peers    []Peer    `json:"peers"` // in the order of the tables
	Runs     []Run     `json:"runs"`
	Verdicts []Verdict `json:"verdicts"`
	Notes    []Note    `json:"notes"`
}

// Machine is what the figures depend on.
type Machine struct {
	CPU       string            `json:"cpu"`
	Cores     int               `json:"cores"`
	MemoryMiB int               `json:"memory_mib"`
	Kernel    string            `json:"kernel"`
	Go        string            `json:"go"`
	Nginx     string            `json:"nginx"`
	Commit    string            `json:"commit"`
	Args      string            `json:"args"` // the bench's own
	Sysctls   map[string]string `json:"sysctls"`
	LoadCPUs  []int             `json:"load_cpus"` // load and sinks
	PeerCPUs  []int             `json:"peer_cpus"`
	Idle      float64           `json:"idle_busy_cores"` // the machine's own load, in cores, taken off each run
	Clock     string            `json:"clock"`           // how CPU time was told
}

// Peer is a path that was measured and how it was configured.
type Peer struct {
	Name   string `json:"name"`
	Config string `json:"config"`
}

// Run is one measured window of one peer.
type Run struct {
	Scenario string  `json:"scenario"`
	Peer     string  `json:"peer"`
	Round    int     `json:"round"`
	Rate     int     `json:"rate"` // data datagrams per second, as planned
	Sessions int     `json:"sessions"`
	Shards   int     `json:"shards,omitempty"`
	Players  float64 `json:"players,omitempty"` // share of the data towards callers
	Window   float64 `json:"window_s"`

	// From start to stop.
	Sent       uint64 `json:"sent"` // data, both ends
	Lost       uint64 `json:"lost"` // sent less received, data
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`

	// In the window.
	Delivered   uint64  `json:"delivered"`    // datagrams of all kinds, both directions
	DataPerSec  float64 `json:"data_per_s"`   // data that arrived
	CostMicros  float64 `json:"cost_us"`      // machine CPU per delivered datagram
	AddedMicros float64 `json:"added_us"`     // the same less the direct path's of the round
	HasAdded    bool    `json:"has_added"`    // there was a direct run in the round
	BusyCores   float64 `json:"busy_cores"`   // of the machine, idle baseline taken off
	TickedCores float64 `json:"ticked_cores"` // as the kernel assigned it by timer tick
	SoftIRQ     float64 `json:"softirq_cores"`
	Steal       float64 `json:"steal_cores"` // taken by the hypervisor
	PeerCores   float64 `json:"peer_cores"`
	LoadCores   float64 `json:"load_cores"`
	SinkCores   float64 `json:"sink_cores"`

	Late      uint64       `json:"late"` // datagrams that the load sent too late
	LagP99    float64      `json:"lag_p99_us"`
	Latency   *Percentiles `json:"latency_us,omitempty"`
	RTT       float64      `json:"rtt_us,omitempty"`     // as libsrt measures it, mean of the sessions
	PerSecond float64      `json:"per_second,omitempty"` // handshakes
	Failed    uint64       `json:"failed,omitempty"`     // handshakes
	Connect   *Percentiles `json:"connect_us,omitempty"`
	Memory    *Memory      `json:"memory,omitempty"`
	InKernel  uint64       `json:"in_kernel,omitempty"` // sessions that the kernel path relayed
	Trial     bool         `json:"trial,omitempty"`     // a step of a search, no result by itself
	Found     bool         `json:"found,omitempty"`     // the result of a search
	Unreached bool         `json:"unreached,omitempty"`
}

// Percentiles of a time in microseconds.
type Percentiles struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Memory of a process, in bytes.
type Memory struct {
	RSS        uint64  `json:"rss"`
	PSS        uint64  `json:"pss"`
	EmptyRSS   uint64  `json:"empty_rss"`
	EmptyPSS   uint64  `json:"empty_pss"`
	PerSession float64 `json:"per_session"`
	FDs        int     `json:"fds"`
	Maps       uint64  `json:"bpf_maps,omitempty"` // the kernel's, of the process's BPF maps
}

// Verdict compares a figure with its limit.
type Verdict struct {
	Scenario string  `json:"scenario"`
	Text     string  `json:"text"` // what is compared
	Value    float64 `json:"value"`
	Sign     string  `json:"sign"` // "<=" or ">="
	Limit    float64 `json:"limit"`
	Pass     bool    `json:"pass"`
	Missing  string  `json:"missing,omitempty"` // why there is no value
}

// AtMost makes a verdict.
func AtMost(scenario, text string, value, limit float64) Verdict {
	return Verdict{Scenario: scenario, Text: text, Value: value, Sign: "<=", Limit: limit, Pass: value <= limit}
}

// AtLeast makes a verdict.
func AtLeast(scenario, text string, value, limit float64) Verdict {
	return Verdict{Scenario: scenario, Text: text, Value: value, Sign: ">=", Limit: limit, Pass: value >= limit}
}

// Note is a remark on a scenario.
type Note struct {
	Scenario string `json:"scenario"`
	Text     string `json:"text"`
}

// Load reads a report.json.
func Load(file string) (Document, error) {
	var d Document
	text, err := os.ReadFile(file)
	if err != nil {
		return d, fmt.Errorf("read report: %w", err)
	}
	if err := json.Unmarshal(text, &d); err != nil {
		return d, fmt.Errorf("read report %s: %w", file, err)
	}
	return d, nil
}
