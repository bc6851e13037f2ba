package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// table is one table of the report, in words that Markdown and HTML share.
type table struct {
	scenario, title string
	head            []string
	rows            [][]string
}

// group is the runs of one row.
type group struct {
	peer                   string
	rate, sessions, shards int
	runs                   []Run
}

// groups sorts the results of a scenario into rows: by rate, sessions and
// shards, then peers in their order of appearance.
func groups(d Document, scenario string) []group {
	var all []group
	for _, r := range d.Runs {
		if r.Scenario != scenario || r.Trial {
			continue
		}
		// The rate of a search is its result and makes no row.
		rate := r.Rate
		if r.Found {
			rate = 0
		}
		i := slices.IndexFunc(all, func(g group) bool {
			return g.peer == r.Peer && g.rate == rate && g.sessions == r.Sessions && g.shards == r.Shards
		})
		if i < 0 {
			all = append(all, group{peer: r.Peer, rate: rate, sessions: r.Sessions, shards: r.Shards})
			i = len(all) - 1
		}
		all[i].runs = append(all[i].runs, r)
	}
	slices.SortStableFunc(all, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.rate, b.rate), cmp.Compare(a.sessions, b.sessions), cmp.Compare(a.shards, b.shards),
			cmp.Compare(rank(d, a.peer), rank(d, b.peer)))
	})
	return all
}

// rank returns a peer's place in the document, which orders peers everywhere.
func rank(d Document, peer string) int {
	return slices.IndexFunc(d.Peers, func(p Peer) bool { return p.Name == peer })
}

func (g group) spread(figure func(Run) float64) Spread {
	return Over(g.runs, func(Run) bool { return true }, figure)
}

func (g group) added() Spread {
	return Over(g.runs, func(r Run) bool { return r.HasAdded }, addedCost)
}

func (g group) latency(figure func(Percentiles) float64) Spread {
	return Over(g.runs, func(r Run) bool { return r.Latency != nil }, func(r Run) float64 { return figure(*r.Latency) })
}

func (g group) rtt() Spread {
	return Over(g.runs, func(r Run) bool { return r.RTT > 0 }, func(r Run) float64 { return r.RTT })
}

// lost is the worst round's share of lost datagrams.
func (g group) lost() string {
	worst, share := uint64(0), 0.0
	for _, r := range g.runs {
		if r.Lost >= worst && r.Sent > 0 {
			worst, share = r.Lost, float64(r.Lost)/float64(r.Sent)
		}
	}
	if worst == 0 {
		return "0"
	}
	return fmt.Sprintf("%d (%.2g %%)", worst, share*100)
}

func cost(r Run) float64 { return r.CostMicros }

// ownCost is what the processes of load, peer and sinks used. It leaves out kernel work that
// belongs to no process, and other load of the machine.
func ownCost(r Run) float64 {
	if r.Delivered == 0 {
		return 0
	}
	return (r.LoadCores + r.PeerCores + r.SinkCores) * r.Window * 1e6 / float64(r.Delivered)
}

func rate(r Run) float64         { return float64(r.Rate) }
func addedCost(r Run) float64    { return r.AddedMicros }
func p50(p Percentiles) float64  { return p.P50 }
func p99(p Percentiles) float64  { return p.P99 }
func p999(p Percentiles) float64 { return p.P999 }

// text shows median and extremes; a single value has none.
func (s Spread) text(digits int) string {
	return s.in(func(v float64) string { return strconv.FormatFloat(v, 'f', digits, 64) })
}

// in is the same with figures in another notation.
func (s Spread) in(f func(float64) string) string {
	switch {
	case s.N == 0:
		return "-"
	case s.N == 1:
		return f(s.Median)
	}
	return f(s.Median) + " (" + f(s.Min) + ".." + f(s.Max) + ")"
}

// thousands writes 60000 as 60,000.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// tables returns the tables for which the document has figures.
func tables(d Document) []table {
	all := []table{
		costTable(d, "publish", "CPU per packet, publishers only, one shard"),
		costTable(d, "mixed", "CPU per packet, half of the data towards players, one shard"),
		costTable(d, "polling", "CPU per packet, backends that poll"),
		libsrtTable(d),
		costTable(d, "trains", "CPU per packet, publishers that send trains of 16 datagrams"),
		costTable(d, "hooks", "CPU per packet of the direct path beside hooks that carry no session"),
		ceilingTable(d), latencyTable(d), batchWaitTable(d), ratesTable(d), shardsTable(d), sessionsTable(d), memoryTable(d), handshakesTable(d),
	}
	return slices.DeleteFunc(all, func(t table) bool { return len(t.rows) == 0 })
}

func costTable(d Document, scenario, title string) table {
	t := table{
		scenario: scenario, title: title,
		head: []string{"peer", "data/s", "sessions", "CPU, us/packet", "added to direct, us/packet", "added / nginx's", "load, peer and sinks alone, us/packet", "lost, worst round", "latency p50, us", "latency p99, us", "peer's own cores"},
	}
	all := groups(d, scenario)
	base := Spread{Median: math.NaN()}
	if i := slices.IndexFunc(all, func(g group) bool { return g.peer == "nginx" }); i >= 0 {
		base = all[i].added()
	}
	for _, g := range all {
		ratio := "-"
		if a := g.added(); a.N > 0 && base.N > 0 {
			ratio = fmt.Sprintf("%.2f", a.Median/base.Median)
		}
		t.rows = append(t.rows, []string{
			g.peer, thousands(g.rate), thousands(g.sessions), g.spread(cost).text(2), g.added().text(2), ratio, g.spread(ownCost).text(2), g.lost(),
			g.latency(p50).text(0), g.latency(p99).text(0), g.spread(func(r Run) float64 { return r.PeerCores }).text(2),
		})
	}
	return t
}

func ceilingTable(d Document) table {
	t := table{scenario: "ceiling", title: "Highest rate without loss, one core", head: []string{"peer", "data/s", "CPU, us/packet", "limit"}}
	for _, g := range groups(d, "ceiling") {
		t.rows = append(t.rows, []string{g.peer, g.found(), g.spread(cost).text(2), g.limit()})
	}
	return t
}

// found is the rate that searches have found.
func (g group) found() string {
	return g.spread(rate).in(func(v float64) string { return thousands(int(v)) })
}

// limit returns whose limit most of the searches have found.
func (g group) limit() string {
	unreached := 0
	for _, r := range g.runs {
		if r.Unreached {
			unreached++
		}
	}
	if 2*unreached > len(g.runs) {
		return "load generator and sinks"
	}
	return "the peer"
}

func latencyTable(d Document) table {
	t := table{
		scenario: "latency", title: "One-way latency at half of the highest rates",
		head: []string{"data/s", "peer", "p50, us", "p99, us", "p99.9, us", "added p50", "added p99", "added p99.9", "lost, worst round"},
	}
	all := groups(d, "latency")
	for _, g := range all {
		row := []string{thousands(g.rate), g.peer, g.latency(p50).text(0), g.latency(p99).text(0), g.latency(p999).text(0)}
		i := slices.IndexFunc(all, func(o group) bool { return o.peer == "direct" && o.rate == g.rate })
		for _, figure := range []func(Percentiles) float64{p50, p99, p999} {
			if i < 0 || g.peer == "direct" {
				row = append(row, "-")
				continue
			}
			row = append(row, fmt.Sprintf("%.0f", g.latency(figure).Median-all[i].latency(figure).Median))
		}
		t.rows = append(t.rows, append(row, g.lost()))
	}
	return t
}

func ratesTable(d Document) table {
	t := table{
		scenario: "rates", title: "Cost and latency against the rate",
		head: []string{"data/s", "peer", "CPU, us/packet", "added to direct, us/packet", "latency p50, us", "p99, us", "lost, worst round"},
	}
	for _, g := range groups(d, "rates") {
		t.rows = append(t.rows, []string{
			thousands(g.rate), g.peer, g.spread(cost).text(2), g.added().text(2), g.latency(p50).text(0), g.latency(p99).text(0), g.lost(),
		})
	}
	return t
}

func shardsTable(d Document) table {
	t := table{
		scenario: "shards", title: "Shards, one core",
		head: []string{"peer", "shards", "highest lossless data/s", "limit", "CPU, us/packet", "added to direct, us/packet"},
	}
	highest := groups(d, "shards-ceiling")
	for _, g := range groups(d, "shards") {
		row := []string{g.peer, strconv.Itoa(g.shards), "-", "-", g.spread(cost).text(2), g.added().text(2)}
		if g.shards == 0 {
			row[1] = "-"
		}
		i := slices.IndexFunc(highest, func(h group) bool { return h.peer == g.peer && h.shards == g.shards })
		if i >= 0 {
			row[2], row[3] = highest[i].found(), highest[i].limit()
		}
		t.rows = append(t.rows, row)
	}
	return t
}

func sessionsTable(d Document) table {
	t := table{
		scenario: "sessions", title: "Cost against the number of sessions, one shard",
		head: []string{"sessions", "peer", "CPU, us/packet", "added to direct, us/packet", "lost, worst round"},
	}
	for _, g := range groups(d, "sessions") {
		t.rows = append(t.rows, []string{thousands(g.sessions), g.peer, g.spread(cost).text(2), g.added().text(2), g.lost()})
	}
	return t
}

func memoryTable(d Document) table {
	t := table{
		scenario: "memory", title: "Memory of idle sessions",
		head: []string{"peer", "sessions", "bytes each (RSS)", "RSS, MiB", "empty, MiB", "PSS, MiB", "empty, MiB", "BPF maps, MiB", "open files"},
	}
	mib := func(n uint64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
	for _, g := range groups(d, "memory") {
		m := g.runs[len(g.runs)-1].Memory
		if m == nil {
			continue
		}
		t.rows = append(t.rows, []string{
			g.peer, thousands(g.sessions), fmt.Sprintf("%.0f", m.PerSession), mib(m.RSS), mib(m.EmptyRSS), mib(m.PSS), mib(m.EmptyPSS), mib(m.Maps), strconv.Itoa(m.FDs),
		})
	}
	return t
}

func handshakesTable(d Document) table {
	t := table{
		scenario: "handshakes", title: "Handshakes, one core",
		head: []string{"what", "peer", "handshakes/s", "failed, worst round", "connect p50, us", "connect p99, us"},
	}
	for _, part := range []struct{ scenario, what string }{{"handshakes", "as many as possible"}, {"flood", "few, beside a flood"}} {
		for _, g := range groups(d, part.scenario) {
			connect := func(figure func(Percentiles) float64) string {
				return Over(g.runs, func(r Run) bool { return r.Connect != nil }, func(r Run) float64 { return figure(*r.Connect) }).text(0)
			}
			t.rows = append(t.rows, []string{
				part.what, g.peer, g.spread(func(r Run) float64 { return r.PerSecond }).text(0),
				fmt.Sprintf("%.0f", g.spread(func(r Run) float64 { return float64(r.Failed) }).Max), connect(p50), connect(p99),
			})
		}
	}
	return t
}

// facts returns the table at the head of the report.
func facts(d Document) table {
	m := d.Machine
	quick := ""
	if d.Quick {
		quick = " (quick: short windows, rough figures)"
	}
	t := table{title: "Machine", head: []string{"what", "value"}, rows: [][]string{
		{"date", d.Started.Format("2006-01-02 15:04 MST") + fmt.Sprintf(", took %.0f s", d.Seconds) + quick},
		{"commit", m.Commit},
		{"arguments", m.Args},
		{"rounds", strconv.Itoa(d.Rounds)},
		{"CPU", fmt.Sprintf("%s, %d cores, %d MiB", m.CPU, m.Cores, m.MemoryMiB)},
		{"kernel", m.Kernel},
		{"Go", m.Go},
		{"nginx", m.Nginx},
		{"CPUs", fmt.Sprintf("load and sinks %s, peer %s", cpus(m.LoadCPUs), cpus(m.PeerCPUs))},
		{"idle", fmt.Sprintf("%.4f cores busy without a bench, taken off every run", m.Idle)},
		{"CPU time", m.Clock},
	}}
	for _, name := range sortedKeys(m.Sysctls) {
		t.rows = append(t.rows, []string{name, m.Sysctls[name]})
	}
	return t
}

func cpus(list []int) string {
	if len(list) == 0 {
		return "all"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(list), " ", ","), "[]")
}

func sortedKeys(m map[string]string) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func verdicts(d Document) table {
	t := table{title: "Verdicts", head: []string{"", "scenario", "what", "value", "must be"}}
	for _, v := range d.Verdicts {
		value := fmt.Sprintf("%.3g", v.Value)
		if v.Missing != "" {
			value = v.Missing
		}
		t.rows = append(t.rows, []string{v.Outcome(), v.Scenario, v.Text, value, fmt.Sprintf("%s %.4g", v.Sign, v.Limit)})
	}
	return t
}
