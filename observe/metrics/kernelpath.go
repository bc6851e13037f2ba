package metrics

import (
	"github.com/prometheus/client_golang/prometheus"

	"srtrelay/api/answer"
)

// Kernel describes the kernel path.
type Kernel interface {
	KernelPath() answer.KernelPath
}

// kernelCollector exports the devices of the kernel path.
type kernelCollector struct {
	kernel           Kernel
	on, attached, up *prometheus.Desc
}

func newKernelCollector(kernel Kernel) *kernelCollector {
	return &kernelCollector{
		kernel: kernel,
		on: prometheus.NewDesc("srtrelay_kernel_path_on",
			"1 if the kernel relays established sessions.", nil, nil),
		attached: prometheus.NewDesc("srtrelay_kernel_path_attached",
			"1 if the kernel path is attached to the device.", []string{"device"}, nil),
		up: prometheus.NewDesc("srtrelay_kernel_path_up_datagrams_total",
			"Datagrams of sessions in the kernel path that it has left to the shards, by reason.", []string{"device", "reason"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *kernelCollector) Describe(out chan<- *prometheus.Desc) {
	out <- c.on
	out <- c.attached
	out <- c.up
}

// Collect implements prometheus.Collector.
func (c *kernelCollector) Collect(out chan<- prometheus.Metric) {
	k := c.kernel.KernelPath()
	out <- prometheus.MustNewConstMetric(c.on, prometheus.GaugeValue, indicator(k.On))
	for _, d := range k.Devices {
		out <- prometheus.MustNewConstMetric(c.attached, prometheus.GaugeValue, indicator(d.Problem == ""), d.Name)
		for reason, n := range d.Up {
			out <- prometheus.MustNewConstMetric(c.up, prometheus.CounterValue, float64(n), d.Name, reason)
		}
	}
}
