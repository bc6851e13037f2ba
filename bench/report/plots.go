package report

import "slices"

// panel is a row of charts under one heading.
type panel struct {
	scenario, title string
	charts          []chart
}

// fixedColours keep a peer's colour the same in all reports. Other peers get the next
// colours.
var fixedColours = []string{"direct", "srtrelay", "nft", "nginx", "goproxy", "srtrelay, kernel path"}

// colours in the page's palette.
const colours = 9

func colourOf(d Document, peer string) int {
	if i := slices.Index(fixedColours, peer); i >= 0 {
		return i
	}
	extra := 0
	for _, p := range d.Peers {
		if p.Name == peer {
			break
		}
		if !slices.Contains(fixedColours, p.Name) {
			extra++
		}
	}
	return len(fixedColours) + extra%(colours-len(fixedColours))
}

// lines makes a series per peer out of a scenario's groups.
func lines(d Document, scenario string, x func(group) float64, y func(group) Spread) []series {
	var all []series
	for _, g := range groups(d, scenario) {
		s := y(g)
		if s.N == 0 {
			continue
		}
		i := slices.IndexFunc(all, func(s series) bool { return s.name == g.peer })
		if i < 0 {
			all = append(all, series{name: g.peer, colour: colourOf(d, g.peer)})
			i = len(all) - 1
		}
		all[i].points = append(all[i].points, point{x(g), s.Median, s.Min, s.Max})
	}
	return all
}

func byRate(g group) float64     { return float64(g.rate) }
func bySessions(g group) float64 { return float64(g.sessions) }
func byShards(g group) float64   { return float64(g.shards) }

const (
	rateLabel = "data datagrams per second"
	costLabel = "machine CPU, us per datagram"
	addLabel  = "added CPU, us per datagram"
)

// panels returns the plots for which the document has figures.
func panels(d Document) []panel {
	all := []panel{
		{"rates", "Cost against rate", []chart{
			{title: "CPU of the whole machine per datagram", xLabel: rateLabel, yLabel: costLabel, series: lines(d, "rates", byRate, func(g group) Spread { return g.spread(cost) })},
			{title: "The same, above the direct path", xLabel: rateLabel, yLabel: addLabel, series: lines(d, "rates", byRate, group.added)},
		}},
		{"rates", "One-way latency against rate", latencyCharts(d)},
		{"sessions", "Cost against sessions", []chart{
			{title: "CPU of the whole machine per datagram", xLabel: "sessions", yLabel: costLabel, xLog: true, xTicks: xs(d, "sessions", bySessions), series: lines(d, "sessions", bySessions, func(g group) Spread { return g.spread(cost) })},
			{title: "The same, above the direct path", xLabel: "sessions", yLabel: addLabel, xLog: true, xTicks: xs(d, "sessions", bySessions), series: lines(d, "sessions", bySessions, group.added)},
		}},
		{"shards", "Cost and highest rate against shards", []chart{
			{title: "Added CPU per datagram", xLabel: "shards", yLabel: addLabel, xLog: true, xTicks: xs(d, "shards", byShards), series: lines(d, "shards", byShards, group.added)},
			{title: "Highest rate without loss", xLabel: "shards", yLabel: rateLabel, xLog: true, xTicks: xs(d, "shards-ceiling", byShards), series: lines(d, "shards-ceiling", byShards, func(g group) Spread { return g.spread(rate) })},
		}},
	}
	return slices.DeleteFunc(all, func(p panel) bool {
		return !slices.ContainsFunc(p.charts, func(c chart) bool { return len(c.series) > 0 })
	})
}

func latencyCharts(d Document) []chart {
	var all []chart
	for _, p := range []struct {
		name   string
		figure func(Percentiles) float64
	}{{"p50", p50}, {"p99", p99}, {"p99.9", p999}} {
		all = append(all, chart{
			title: p.name, xLabel: rateLabel, yLabel: "one-way latency, us", yLog: true,
			series: lines(d, "rates", byRate, func(g group) Spread { return g.latency(p.figure) }),
		})
	}
	return all
}

// xs are the places on an axis where there are figures; zero has none on a
// logarithmic one.
func xs(d Document, scenario string, x func(group) float64) []float64 {
	var all []float64
	for _, g := range groups(d, scenario) {
		if v := x(g); v > 0 {
			all = append(all, v)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
