//go:build linux

package soak

import (
	"fmt"
	"runtime"
	"strings"
	"time"

	"srtrelay/bench/report"
)

const (
	// The error of the fit: growth that may appear although nothing leaks.
	mostRSS = 8 // MiB
	// In less than half an hour the relay's tables, including the history, and the
	// runtime's heap do not reach their final size.
	mostRSSYoung   = 64 // MiB
	mostFDs        = 4
	mostGoroutines = 8
	mostThreads    = 4
	// mostFailed is the share of connects in percent that may fail, because they waited
	// for a server that died.
	mostFailed = 1
	// mostUnanswered is the share of questions to the API, captures among
	// them, that may stay without an answer, in percent.
	mostUnanswered = 1
	// leastRate is the share of the planned sessions that must have connected.
	leastRate = 95
)

const intro = "Streams that stay, sessions that come and go, servers that die and return and whose heartbeats stop, rules that change, and readers of the API, " +
	"for as long as the page shows. A datagram or a session counts as lost if no death of its server explains it. " +
	"Growth is the median slope between all pairs of samples (Theil and Sen) after the first sixth of the time, times that time."

// after returns a gauge's samples without those of the beginning.
func (r *run) after(gauge func(Sample) float64) (points [][2]float64) {
	for _, s := range r.doc.Samples {
		if s.Seconds >= r.options.warm().Seconds() {
			points = append(points, [2]float64{s.Seconds, gauge(s)})
		}
	}
	return points
}

func (r *run) verdicts() []report.Verdict {
	d := r.doc
	const scenario = "soak"
	most := func(text string, value, limit float64) report.Verdict {
		return report.AtMost(scenario, text, value, limit)
	}
	lost := d.Losses.Datagrams()
	text := "datagrams lost in sessions whose server lived"
	if lost > 0 && lost <= r.last.OutsideDrops {
		text += fmt.Sprintf(" (%d, no more than the generator and the host lost)", lost)
		lost = 0
	}
	failed := 0.0
	if tried := d.Connects + d.Failed; tried > 0 {
		failed = 100 * float64(d.Failed) / float64(tried)
	}
	memory := float64(mostRSS)
	if r.options.Duration < 30*time.Minute {
		memory = mostRSSYoung
	}
	unanswered := 0.0
	if asked := r.last.Questions + r.last.Unanswered; asked > 0 {
		unanswered = 100 * float64(r.last.Unanswered) / float64(asked)
	}
	unbalanced := float64(d.Books.Received) - float64(d.Books.Fates)
	all := []report.Verdict{
		most(text, float64(lost), 0),
		most("sessions lost whose server lived", float64(d.Losses.Sessions), 0),
		most("datagrams that came twice", float64(d.Losses.Duplicated), 0),
		most("errors: the run, its end, the books", float64(len(strings.Fields(d.Error))), 0),
		most("datagrams received without a fate, at the end", max(unbalanced, -unbalanced), 0),
		most("sessions and leases left at the end", float64(d.Books.Sessions)+float64(len(d.Books.NotEmptyBackends)), 0),
		most("share of connects that failed, %", failed, mostFailed),
		most("share of questions to the API without an answer, %", unanswered, mostUnanswered),
		most("growth of resident memory, MiB", growth(r.after(func(s Sample) float64 { return float64(s.RSS) / (1 << 20) })), memory),
		most("growth of descriptors", growth(r.after(func(s Sample) float64 { return float64(s.FDs) })), mostFDs),
		most("growth of goroutines", growth(r.after(func(s Sample) float64 { return float64(s.Goroutines) })), mostGoroutines),
		most("growth of threads", growth(r.after(func(s Sample) float64 { return float64(s.Threads) })), mostThreads),
	}
	if planned := r.options.Connects * d.Seconds; planned > 0 {
		all = append(all, report.AtLeast(scenario, "sessions that connected and ended, % of what was planned",
			100*float64(d.Planned)/planned, leastRate))
	}
	return all
}

func (r *run) plot(title, y string, lines map[string]func(Sample) float64, order ...string) report.Plot {
	p := report.Plot{Title: title, X: "minutes", Y: y}
	for _, name := range order {
		l := report.Line{Name: name}
		for _, s := range r.doc.Samples {
			l.Points = append(l.Points, [2]float64{s.Seconds / 60, lines[name](s)})
		}
		p.Lines = append(p.Lines, l)
	}
	return p
}

type gauges = map[string]func(Sample) float64

func (r *run) timeline() report.Timeline {
	d := r.doc
	t := report.Timeline{
		Title: "An hour of everything at once", Intro: intro, Verdicts: r.verdicts(),
		Subtitle: fmt.Sprintf("%.0f minutes, %d connects, seed %d", d.Seconds/60, d.Connects, d.Seed),
	}
	if d.Seconds < 3500 {
		t.Title = "Everything at once"
	}
	t.Plots = []report.Plot{
		r.plot("Resident memory", "MiB", gauges{"RSS": func(s Sample) float64 { return float64(s.RSS) / (1 << 20) }}, "RSS"),
		r.plot("Descriptors, goroutines, threads", "number", gauges{
			"descriptors": func(s Sample) float64 { return float64(s.FDs) },
			"goroutines":  func(s Sample) float64 { return float64(s.Goroutines) },
			"threads":     func(s Sample) float64 { return float64(s.Threads) },
		}, "descriptors", "goroutines", "threads"),
		r.plot("Sessions", "number", gauges{
			"in the relay": func(s Sample) float64 { return float64(s.Sessions) },
			"streams":      func(s Sample) float64 { return float64(s.Open) },
			"short":        func(s Sample) float64 { return float64(s.Short) },
		}, "in the relay", "streams", "short"),
		r.plot("Connects and ends", "per second", gauges{
			"connects": func(s Sample) float64 { return s.Connects }, "ends": func(s Sample) float64 { return s.Ends },
		}, "connects", "ends"),
		r.plot("Data received by callers", "datagrams per second", gauges{"data": func(s Sample) float64 { return s.Data }}, "data"),
		r.plot("Lost, and excused", "since the beginning", gauges{
			"datagrams":       func(s Sample) float64 { return float64(s.Lost) },
			"sessions":        func(s Sample) float64 { return float64(s.SessionsLost) },
			"of dead servers": func(s Sample) float64 { return float64(s.Excused) },
			"connects failed": func(s Sample) float64 { return float64(s.Failed) },
		}, "datagrams", "sessions", "of dead servers", "connects failed"),
	}
	t.Notes = append(t.Notes, d.Losses.Details...)
	if d.Error != "" {
		t.Notes = append(t.Notes, "error: "+strings.ReplaceAll(d.Error, "\n", " "))
	}
	t.Facts = [][2]string{
		{"date", time.Now().UTC().Format("2006-01-02 15:04 MST")},
		{"machine", fmt.Sprintf("%d CPUs, %s, %s", runtime.NumCPU(), runtime.GOARCH, runtime.Version())},
		{"relay", "srtrelay " + strings.Join(d.Args, " ")},
		{"streams that stay", fmt.Sprintf("%d, %d data/s each way", r.options.Streams, rate)},
		{"sessions that come and go", fmt.Sprintf("%g/s, %d data each way: %d connected, %d ended as planned, %d failed", r.options.Connects, shortCount, d.Connects, d.Planned, d.Failed)},
		{"pairs of ledgers compared", fmt.Sprint(d.Losses.Paired)},
		{"servers", fmt.Sprintf("%d, of which 2 died and returned in turn and 2 stopped their heartbeats in turn, every %v", servers, r.options.cycle())},
		{"deaths of servers", fmt.Sprint(r.plan.faults)},
		{"sessions of dead servers", fmt.Sprint(d.Losses.Excused)},
		{"changes of rules", fmt.Sprint(r.plan.rules)},
		{"questions to the API", fmt.Sprintf("%d answered, %d not", r.last.Questions, r.last.Unanswered)},
		{"events read", fmt.Sprint(r.last.Events)},
		{"captured", fmt.Sprintf("%.1f MiB", float64(r.last.CapturedBytes)/(1<<20))},
		{"datagrams received by the relay", fmt.Sprintf("%d, with %d fates", d.Books.Received, d.Books.Fates)},
		{"dropped by the kernel", fmt.Sprintf("%d at the relay's sockets, %d at the generator's and in the host's queues", r.last.RelayDrops, r.last.OutsideDrops)},
	}
	return t
}
