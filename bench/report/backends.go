package report

import (
	"slices"
	"strings"
)

// libsrtTable has the round trip in place of the latency, which libsrt does not measure.
func libsrtTable(d Document) table {
	t := costTable(d, "libsrt", "CPU per packet, backends of the real libsrt")
	column := slices.Index(t.head, "latency p50, us")
	t.head = slices.Replace(t.head, column, column+2, "round trip, us")
	for i, g := range groups(d, "libsrt") {
		t.rows[i] = slices.Replace(t.rows[i], column, column+2, g.rtt().text(0))
	}
	return t
}

// The scenarios of batch-wait, by kind of backend.
const (
	BatchWaitSleeping = "batch-wait, backends that sleep"
	BatchWaitPolling  = "batch-wait, backends that poll"
	BatchWaitLibsrt   = "batch-wait, real libsrt"
)

// BatchWaits are the scenarios of batch-wait, in the order of the table.
var BatchWaits = []string{BatchWaitSleeping, BatchWaitPolling, BatchWaitLibsrt}

func batchWaitTable(d Document) table {
	t := table{
		scenario: "batch-wait", title: "Cost and latency in user space against --batch-wait",
		head: []string{
			"backends", "peer", "data/s", "CPU, us/packet", "added to direct, us/packet", "latency p50, us", "p99, us", "round trip, us",
			"lost, worst round", "peer's own cores",
		},
	}
	for _, scenario := range BatchWaits {
		_, backends, _ := strings.Cut(scenario, ", ")
		for _, g := range groups(d, scenario) {
			t.rows = append(t.rows, []string{
				backends, g.peer, thousands(g.rate), g.spread(cost).text(2), g.added().text(2), g.latency(p50).text(0), g.latency(p99).text(0),
				g.rtt().text(0), g.lost(), g.spread(func(r Run) float64 { return r.PeerCores }).text(2),
			})
		}
	}
	return t
}
