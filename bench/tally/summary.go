package tally

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Summary writes the report as text.
func (r Report) Summary(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d sessions, measured for %.1f s\n", r.Role, r.Sessions, r.Window.Seconds)
	fmt.Fprintf(&b, "  sent      %s\n", r.Sent.text())
	fmt.Fprintf(&b, "  received  %s\n", r.Received.text())
	fmt.Fprintf(&b, "  rate      %.0f datagrams/s sent, %.0f received\n", r.Window.SentPerSecond, r.Window.ReceivedPerSecond)
	fmt.Fprintf(&b, "  fate      %d lost, %d duplicated, %d reordered, %d stale, %d unknown, %d foreign, %d refused by the kernel\n",
		r.Lost, r.Duplicated, r.Reordered, r.Stale, r.Unknown, r.Foreign, r.Unsent)
	if r.Latency.Count > 0 {
		fmt.Fprintf(&b, "  one way   %s\n", r.Latency.text())
	}
	if r.Lag.Count > 0 {
		fmt.Fprintf(&b, "  lag       %s; %d later than 1 ms\n", r.Lag.text(), r.Late)
	}
	if h := r.Handshakes; h.Attempted > 0 {
		fmt.Fprintf(&b, "  connects  %d of %d complete, %d failed, %d datagrams repeated, %.0f/s\n",
			h.Completed, h.Attempted, h.Failed, h.Repeated, h.PerSecond)
		for _, code := range slices.Sorted(maps.Keys(h.Rejected)) {
			fmt.Fprintf(&b, "            %d rejected with %d\n", h.Rejected[code], code)
		}
		if h.Connect.Count > 0 {
			fmt.Fprintf(&b, "            %s\n", h.Connect.text())
		}
	}
	if r.Bogus > 0 {
		fmt.Fprintf(&b, "  flood     %d bogus conclusions\n", r.Bogus)
	}
	fmt.Fprintf(&b, "  CPU       %.2f s\n", r.CPUSeconds)
	_, err := io.WriteString(out, b.String())
	return err
}

func (k ByKind) text() string {
	return fmt.Sprintf("%d data, %d ACK, %d ACKACK, %d NAK, %d keepalives, %d other; %d bytes",
		k.Data, k.ACK, k.ACKACK, k.NAK, k.Keepalive, k.Other, k.Bytes)
}

func (p Percentiles) text() string {
	return fmt.Sprintf("p50 %.1f us, p90 %.1f, p99 %.1f, p99.9 %.1f, max %.1f", p.P50, p.P90, p.P99, p.P999, p.Max)
}
