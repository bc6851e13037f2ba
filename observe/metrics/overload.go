package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
)

// Overload says how near the relay is to its limits.
type Overload interface {
	Overload() answer.Overload
}

// overloadCollector exports the pressure and the steps of the overload ladder.
type overloadCollector struct {
	overload                        Overload
	pressure, step, active, entered *prometheus.Desc
}

func newOverloadCollector(from Overload) *overloadCollector {
	return &overloadCollector{
		overload: from,
		pressure: prometheus.NewDesc("srtrelay_overload_pressure",
			"How near the relay is to a limit, from 0 to 1, smoothed, by input; missing while it cannot be read.", []string{"input"}, nil),
		step: prometheus.NewDesc("srtrelay_overload_step",
			"Steps of the overload ladder that the relay is at: 0 none, 1 telemetry, 2 captures, 3 players, 4 publishers.", nil, nil),
		active: prometheus.NewDesc("srtrelay_overload_step_active",
			"1 while the relay is at the step or beyond it.", []string{"step"}, nil),
		entered: prometheus.NewDesc("srtrelay_overload_step_entered_total",
			"Times that the step was entered.", []string{"step"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *overloadCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.pressure
	out <- c.step
	out <- c.active
	out <- c.entered
}

// Collect implements prometheus.Collector.
func (c *overloadCollector) Collect(out chan<- prometheus.Metric) {
	o := c.overload.Overload()
	for _, i := range o.Inputs {
		if i.Pressure != nil {
			out <- prometheus.MustNewConstMetric(c.pressure, prometheus.GaugeValue, *i.Pressure, i.Name)
		}
	}
	at := slices.IndexFunc(o.Steps, func(s answer.OverloadStep) bool { return s.Name == o.Step })
	out <- prometheus.MustNewConstMetric(c.step, prometheus.GaugeValue, float64(at+1))
	for _, s := range o.Steps {
		out <- prometheus.MustNewConstMetric(c.active, prometheus.GaugeValue, indicator(s.Active), s.Name)
		out <- prometheus.MustNewConstMetric(c.entered, prometheus.CounterValue, float64(s.Entered), s.Name)
	}
}
