package report

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// point is a median with its extremes at a place on the x axis.
type point struct{ x, y, low, high float64 }

// series is one line of a chart.
type series struct {
	name   string
	colour int // index of the page's palette
	points []point
}

// chart is a plot of lines with error bars.
type chart struct {
	title, xLabel, yLabel string
	xLog, yLog            bool
	xTicks                []float64 // nil: chosen
	dense                 bool      // lines of many points, which are not marked
	series                []series
}

// The drawing's measures in pixels of its view box; the page scales it.
const (
	chartWidth, chartHeight = 720.0, 380.0
	marginLeft, marginRight = 64.0, 104.0 // right: the lines' own labels
	marginTop, marginBottom = 40.0, 52.0
	labelHeight, labelWidth = 14.0, 80.0
	barHalf                 = 4.0 // of an error bar's end
)

// axis maps values to pixels.
type axis struct {
	low, high float64 // values at the ends
	from, to  float64 // their pixels
	log       bool
	ticks     []float64
}

func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		low, high, v = math.Log(low), math.Log(high), math.Log(max(v, a.low))
	}
	if high == low {
		return (a.from + a.to) / 2
	}
	return a.from + (v-low)/(high-low)*(a.to-a.from)
}

// render draws the chart as an SVG element. Colours are the page's.
func (c chart) render() string {
	c.series = slices.DeleteFunc(slices.Clone(c.series), func(s series) bool { return len(s.points) == 0 })
	if len(c.series) == 0 {
		return ""
	}
	x, y := c.axes()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`+"\n", chartWidth, chartHeight, html.EscapeString(c.title))
	fmt.Fprintf(&b, `<text class="title" x="%g" y="16">%s</text>`+"\n", marginLeft, html.EscapeString(c.title))
	c.drawGrid(&b, x, y)
	c.drawLegend(&b)
	for _, s := range c.series {
		s.draw(&b, x, y, c.dense)
	}
	c.drawLabels(&b, x, y)
	b.WriteString("</svg>\n")
	return b.String()
}

func (c chart) axes() (x, y axis) {
	xLow, xHigh, yLow, yHigh := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
	for _, s := range c.series {
		for _, p := range s.points {
			xLow, xHigh = min(xLow, p.x), max(xHigh, p.x)
			yLow, yHigh = min(yLow, p.low), max(yHigh, p.high)
		}
	}
	x = axis{from: marginLeft, to: chartWidth - marginRight, log: c.xLog}
	y = axis{from: chartHeight - marginBottom, to: marginTop, log: c.yLog}
	x.scale(xLow, xHigh, c.xTicks)
	y.scale(yLow, yHigh, nil)
	return x, y
}

// scale chooses ends and ticks. A linear axis begins at zero, so that heights
// can be compared.
func (a *axis) scale(low, high float64, ticks []float64) {
	switch {
	case ticks != nil:
		a.ticks, a.low, a.high = ticks, min(low, ticks[0]), max(high, ticks[len(ticks)-1])
	case a.log:
		a.ticks = logTicks(low, high)
		a.low, a.high = min(a.ticks[0], max(low, 1e-9)), max(high, a.ticks[len(a.ticks)-1])
	default:
		a.ticks = linearTicks(high)
		a.low, a.high = 0, max(high, a.ticks[len(a.ticks)-1])
	}
}

// linearTicks are round values from 0 that cover high.
func linearTicks(high float64) []float64 {
	if !(high > 0) {
		return []float64{0, 1}
	}
	raw := high / 5
	step := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 5, 10} {
		if step*m >= raw {
			step *= m
			break
		}
	}
	var ticks []float64
	for i := 0; ; i++ {
		// Two digits more than a step needs, against 0.30000000000000004.
		v := math.Round(float64(i)*step/step*1e6) / 1e6 * step
		ticks = append(ticks, v)
		if v >= high {
			return ticks
		}
	}
}

// logTicks are 1, 2, 5 times powers of ten that enclose the range.
func logTicks(low, high float64) []float64 {
	if !(low > 0) {
		low = 1
	}
	high = max(high, low)
	var ticks []float64
	for e := math.Floor(math.Log10(low)); ; e++ {
		for _, m := range []float64{1, 2, 5} {
			v := m * math.Pow(10, e)
			if next := v * 2.5; next <= low {
				continue
			}
			ticks = append(ticks, v)
			if v >= high {
				return ticks
			}
		}
	}
}

func (c chart) drawGrid(b *strings.Builder, x, y axis) {
	for _, v := range y.ticks {
		at := y.at(v)
		fmt.Fprintf(b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, x.from, x.to, at, at)
		fmt.Fprintf(b, `<text class="tick" text-anchor="end" x="%g" y="%.1f">%s</text>`+"\n", x.from-8, at+4, tickText(v))
	}
	for _, v := range x.ticks {
		at := x.at(v)
		fmt.Fprintf(b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, at, at, y.from, y.from+5)
		fmt.Fprintf(b, `<text class="tick" text-anchor="middle" x="%.1f" y="%g">%s</text>`+"\n", at, y.from+18, tickText(v))
	}
	fmt.Fprintf(b, `<line class="axis" x1="%g" x2="%g" y1="%g" y2="%g"/>`, x.from, x.to, y.from, y.from)
	fmt.Fprintf(b, `<text class="label" text-anchor="middle" x="%g" y="%g">%s</text>`, (x.from+x.to)/2, chartHeight-12, html.EscapeString(c.xLabel))
	middle := (y.from + y.to) / 2
	fmt.Fprintf(b, `<text class="label" text-anchor="middle" transform="translate(14 %g) rotate(-90)">%s</text>`+"\n", middle, html.EscapeString(c.yLabel))
}

// drawLegend puts names above the plot, from the left.
func (c chart) drawLegend(b *strings.Builder) {
	at := marginLeft
	for _, s := range c.series {
		fmt.Fprintf(b, `<rect class="fill%d" x="%g" y="24" width="10" height="10" rx="2"/>`, s.colour, at)
		fmt.Fprintf(b, `<text class="tick" x="%g" y="33">%s</text>`, at+14, html.EscapeString(s.name))
		at += 30 + 7*float64(len(s.name))
	}
	b.WriteByte('\n')
}

func (s series) draw(b *strings.Builder, x, y axis, dense bool) {
	var path []string
	for _, p := range s.points {
		path = append(path, fmt.Sprintf("%.1f,%.1f", x.at(p.x), y.at(p.y)))
	}
	fmt.Fprintf(b, `<polyline class="line%d" points="%s"/>`+"\n", s.colour, strings.Join(path, " "))
	if dense {
		return
	}
	for _, p := range s.points {
		px := x.at(p.x)
		if p.low < p.high {
			low, high := y.at(p.low), y.at(p.high)
			fmt.Fprintf(b, `<path class="bar%d" d="M%.1f %.1fV%.1fM%.1f %.1fH%.1fM%.1f %.1fH%.1f"/>`,
				s.colour, px, low, high, px-barHalf, low, px+barHalf, px-barHalf, high, px+barHalf)
		}
		fmt.Fprintf(b, `<circle class="fill%d" cx="%.1f" cy="%.1f" r="3.5"><title>%s: %s at %s (%s to %s)</title></circle>`+"\n",
			s.colour, px, y.at(p.y), html.EscapeString(s.name), valueText(p.y), tickText(p.x), valueText(p.low), valueText(p.high))
	}
}

// drawLabels names each line at its end; of labels that would meet the
// lower one moves down; the margin has room for all peers.
func (c chart) drawLabels(b *strings.Builder, x, y axis) {
	type label struct {
		s      series
		px, at float64
	}
	var all []label
	for _, s := range c.series {
		last := s.points[len(s.points)-1]
		all = append(all, label{s, x.at(last.x), y.at(last.y)})
	}
	slices.SortStableFunc(all, func(a, b label) int { return int(math.Copysign(1, a.at-b.at)) })
	for i := range all {
		for _, above := range all[:i] {
			if math.Abs(all[i].px-above.px) < labelWidth {
				all[i].at = max(all[i].at, above.at+labelHeight)
			}
		}
	}
	for _, l := range all {
		fmt.Fprintf(b, `<text class="name text%d" x="%.1f" y="%.1f">%s</text>`, l.s.colour, l.px+9, l.at+4, html.EscapeString(l.s.name))
	}
	b.WriteByte('\n')
}

// tickText is short: 60k, 1.5M, 0.2.
func tickText(v float64) string {
	switch {
	case v >= 1e6:
		return strconv.FormatFloat(v/1e6, 'g', 4, 64) + "M"
	case v >= 1e4 || v == 1000 || v == 2000 || v == 5000:
		return strconv.FormatFloat(v/1e3, 'g', 4, 64) + "k"
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

func valueText(v float64) string {
	if v >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}
