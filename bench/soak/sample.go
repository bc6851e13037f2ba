//go:build linux

package soak

import (
	"srtrelay/bench/live"
	"srtrelay/bench/rig"
)

// Sample is all gauges and counts at one time.
type Sample struct {
	Seconds    float64 `json:"seconds"` // since the beginning
	RSS        uint64  `json:"rss"`     // bytes
	FDs        int     `json:"fds"`
	Goroutines int     `json:"goroutines"`
	Threads    int     `json:"threads"`
	Sessions   uint64  `json:"sessions"` // in the relay, of all states
	Open       int     `json:"open"`     // streams that are connected
	Short      int     `json:"short"`    // other sessions
	Servers    int     `json:"servers"`  // that the relay finds alive

	// Per second, since the last sample.
	Connects float64 `json:"connects_per_s"`
	Ends     float64 `json:"ends_per_s"`
	Data     float64 `json:"data_per_s"` // received by callers

	// Since the beginning.
	Lost          uint64 `json:"lost"` // datagrams that no fault excuses, both ways
	SessionsLost  uint64 `json:"sessions_lost"`
	Excused       uint64 `json:"excused"` // sessions of servers that died
	Failed        uint64 `json:"failed"`  // connects
	RelayDrops    uint64 `json:"relay_drops"`
	OutsideDrops  uint64 `json:"outside_drops"` // at the generator's sockets and in the host's queues
	LagMillis     int64  `json:"lag_ms"`        // of the callers' loop at most, since the last sample
	Questions     uint64 `json:"questions"`     // to the API that were answered
	Unanswered    uint64 `json:"unanswered"`
	Events        uint64 `json:"events"`
	CapturedBytes uint64 `json:"captured_bytes"`
}

// Document is the content of soak.json.
type Document struct {
	Seed     uint64     `json:"seed"`
	Seconds  float64    `json:"seconds"`
	Args     []string   `json:"args"` // of the relay
	Samples  []Sample   `json:"samples"`
	Losses   rig.Losses `json:"losses"`
	Books    rig.Books  `json:"books"`
	Connects uint64     `json:"connects"`
	Planned  uint64     `json:"planned"` // sessions that ended as planned
	Failed   uint64     `json:"failed"`
	Rejected any        `json:"rejected,omitempty"`
	Error    string     `json:"error,omitempty"`
}

// sample takes a sample.
func (r *run) sample() (s Sample, err error) {
	g, err := r.rig.Relay.Gauges()
	if err != nil {
		return s, err
	}
	books, err := r.rig.Relay.Books()
	if err != nil {
		return s, err
	}
	backends, err := r.rig.Relay.Backends()
	if err != nil {
		return s, err
	}
	drops, err := r.rig.Drops()
	if err != nil {
		return s, err
	}
	drops = drops.Minus(r.drops)
	n := r.rig.Callers.Counts()
	s = Sample{
		Seconds: r.elapsed().Seconds(), RSS: g.RSS, FDs: g.FDs, Goroutines: g.Goroutines, Threads: g.Threads,
		Sessions: books.Sessions, Open: n.Open, Short: n.Short,
		Lost: r.doc.Losses.Datagrams(), SessionsLost: r.doc.Losses.Sessions, Excused: r.doc.Losses.Excused, Failed: n.Failed,
		RelayDrops: drops.Relay, OutsideDrops: drops.Generator(), LagMillis: n.Lag.Milliseconds(),
		Questions: r.readers.answered.Load(), Unanswered: r.readers.unanswered.Load(), Events: r.readers.events.Load(), CapturedBytes: r.readers.captured.Load(),
	}
	for _, b := range backends {
		if b.Alive && !b.Late {
			s.Servers++
		}
	}
	if since := s.Seconds - r.last.Seconds; since > 0 {
		s.Connects = float64(n.Connected-r.counts.Connected) / since
		s.Ends = float64(ends(n)-ends(r.counts)) / since
		s.Data = float64(n.Received-r.counts.Received) / since
	}
	r.counts = n
	return s, nil
}

func ends(n live.Counts) (sum uint64) {
	for _, k := range n.Ended {
		sum += k
	}
	return sum
}
