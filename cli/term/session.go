package term

import (
	"fmt"
	"strings"

	"srtrelay/api/answer"
)

// sessionLines returns everything about a session: its peers, what was negotiated, the two
// legs side by side, and the two ways side by side.
func (s Formatter) sessionLines(v answer.Session) []string {
	lines := s.sessionFacts(v)
	lines = append(lines, "")
	lines = append(lines, s.legLines(v)...)
	lines = append(lines, "")
	return append(lines, s.wayLines(v)...)
}

func (s Formatter) sessionFacts(v answer.Session) []string {
	f := s.figures()
	var p pairs
	p.add("session", fmt.Sprintf("%s, %s, %s, shard %d", v.ID, v.Role, state(v), v.Shard))
	p.add("stream", wholeKey(v.Stream))
	p.add("stream ID", answer.Printable(v.StreamID))
	p.add("caller", v.Caller+socket(v.CallerSocketID)+srt(v.SRT.CallerVersion))
	if v.Migrations > 0 {
		p.add("moved", fmt.Sprintf("%d times to another address", v.Migrations))
	}
	p.add("backend", backendName(v.Backend)+socket(v.BackendSocketID)+srt(v.SRT.BackendVersion))
	p.add("opened", f.moment(v.OpenedAt)+", handshake "+f.millis(nonZero(v.HandshakeMillis)))
	p.add("connected", "for "+f.seconds(v.AgeSeconds)+", last datagram "+f.seconds(v.IdleSeconds)+" ago")
	p.add("encryption", encryption(f, v.SRT))
	p.add("latency", latency(v.SRT.LatencyToBackendMillis)+" to backend, "+latency(v.SRT.LatencyToCallerMillis)+" to caller")
	if v.SRT.GroupID != 0 {
		p.add("group", fmt.Sprintf("%d, %s", v.SRT.GroupID, answer.Printable(v.SRT.GroupType)))
	}
	if v.SRT.Filter != "" {
		p.add("filter", answer.Printable(v.SRT.Filter))
	}
	if v.SRT.Congestion != "" {
		p.add("congestion", answer.Printable(v.SRT.Congestion))
	}
	return p.lines()
}

// nonZero returns v, or nil for the API's 0, which means unknown.
func nonZero(v float64) *float64 {
	if v == 0 {
		return nil
	}
	return &v
}

func socket(id uint32) string {
	if id == 0 {
		return ""
	}
	return fmt.Sprintf(", socket %d", id)
}

func srt(version string) string {
	if version == "" {
		return ""
	}
	return ", SRT " + answer.Printable(version)
}

func latency(millis int) string {
	if millis == 0 {
		return unknown
	}
	return fmt.Sprintf("%d ms", millis)
}

func encryption(f figures, n answer.Negotiated) string {
	if n.KeyLength == 0 {
		return answer.Printable(n.Encryption)
	}
	refreshes := "key refreshes"
	if n.KeyRefreshes == 1 {
		refreshes = "key refresh"
	}
	return fmt.Sprintf("%s with %d bits, %s %s", answer.Printable(n.Encryption), n.KeyLength, f.count(n.KeyRefreshes), refreshes)
}

func (s Formatter) legLines(v answer.Session) []string {
	f := s.figures()
	legs := []answer.Leg{v.CallerLeg, v.BackendLeg}
	row := func(name string, text func(answer.Leg) string) []string {
		cells := []string{name}
		for _, leg := range legs {
			cells = append(cells, text(leg))
		}
		return cells
	}
	return align([][]string{
		{"THE NETWORKS", "CALLER LEG", "BACKEND LEG"},
		row("RTT", func(l answer.Leg) string { return f.millis(l.RTTMillis) }),
		row("RTT variance", func(l answer.Leg) string { return f.millis(l.RTTVarianceMillis) }),
		row("RTT is", func(l answer.Leg) string {
			switch {
			case l.RTTMillis == nil:
				return unknown
			case l.Measured:
				return "measured here"
			}
			return "what remains of the receiver's"
		}),
		row("loss, last second", func(l answer.Leg) string { return f.percent(l.LossPercent) }),
		row("loss, in all", func(l answer.Leg) string { return f.percent(l.TotalLossPercent) }),
	}, true, false, false)
}

// wayRow is a row of the table of ways.
type wayRow struct {
	name string
	text func(f figures, w answer.Way) string
}

var wayRows = []wayRow{
	{"bitrate", func(f figures, w answer.Way) string { return f.bitrate(w.Bitrate) }},
	{"packets/s", func(f figures, w answer.Way) string { return f.rate(w.PacketRate) }},
	{"packets", counter(func(w answer.Way) uint64 { return w.Packets })},
	{"bytes", func(f figures, w answer.Way) string { return f.bytes(w.Bytes) }},
	{"data packets", counter(func(w answer.Way) uint64 { return w.DataPackets })},
	{"media bytes", func(f figures, w answer.Way) string { return f.bytes(w.DataBytes) }},
	{"retransmitted", counter(func(w answer.Way) uint64 { return w.Retransmitted })},
	{"lost before the relay", counter(func(w answer.Way) uint64 { return w.LostBefore })},
	{"lost behind the relay", counter(func(w answer.Way) uint64 { return w.LostBehind })},
	{"lost, as NAKs name it", counter(func(w answer.Way) uint64 { return w.LostReported })},
	{"dropped as too late", counter(func(w answer.Way) uint64 { return w.Dropped })},
	{"reordered", counter(func(w answer.Way) uint64 { return w.Reordered })},
	{"duplicated", counter(func(w answer.Way) uint64 { return w.Duplicated })},
	{"filter packets", counter(func(w answer.Way) uint64 { return w.FilterPackets })},
	{"ACKs", counter(func(w answer.Way) uint64 { return w.ACKs })},
	{"NAKs", counter(func(w answer.Way) uint64 { return w.NAKs })},
	{"ACKACKs", counter(func(w answer.Way) uint64 { return w.ACKACKs })},
	{"implausible ACKs", counter(func(w answer.Way) uint64 { return w.Implausible })},
	{"receiver's RTT", received(func(f figures, r answer.Receiver) string { return f.millis(&r.RTTMillis) })},
	{"receiver's RTT variance", received(func(f figures, r answer.Receiver) string { return f.millis(&r.RTTVarianceMillis) })},
	{"receiver's free buffer", received(func(f figures, r answer.Receiver) string { return f.count(uint64(r.BufferPackets)) + " packets" })},
	{"receiver's packets/s", received(func(f figures, r answer.Receiver) string { return f.rate(float64(r.PacketRate)) })},
	{"receiver's bitrate", received(func(f figures, r answer.Receiver) string { return f.bitrate(r.Bitrate) })},
	{"link capacity, packets/s", received(func(f figures, r answer.Receiver) string { return f.rate(float64(r.CapacityPackets)) })},
}

func counter(of func(answer.Way) uint64) func(figures, answer.Way) string {
	return func(f figures, w answer.Way) string { return f.count(of(w)) }
}

// received is a number from the last full ACK.
func received(text func(figures, answer.Receiver) string) func(figures, answer.Way) string {
	return func(f figures, w answer.Way) string {
		if w.Receiver == nil {
			return unknown
		}
		return text(f, *w.Receiver)
	}
}

func (s Formatter) wayLines(v answer.Session) []string {
	f := s.figures()
	rows := [][]string{{strings.ToUpper("through the relay"), "TO BACKEND", "TO CALLER"}}
	for _, r := range wayRows {
		rows = append(rows, []string{r.name, r.text(f, v.ToBackend), r.text(f, v.ToCaller)})
	}
	return align(rows, true, false, false)
}
