package relay

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"srtrelay/api"
	"srtrelay/api/answer"
	"srtrelay/api/web"
	"srtrelay/backend"
	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/internal/asynclog"
	"srtrelay/observe/metrics"
)

// newServer makes the API of the relay's parts.
func (r *relay) newServer() *api.Server {
	return api.New(r.version, api.Deps{
		Settings:    apiSettings(*r.reloads.current.Load()),
		Reload:      r.reloads.reload,
		Admit:       r.gate.enter,
		Shards:      r.group,
		Kernel:      &r.kernel,
		Backends:    r,
		Streams:     r.watch,
		Sources:     r.group,
		State:       r.state,
		Registry:    r.registry,
		Orders:      r.balancer,
		Cluster:     r.clusterView(),
		Explainer:   r.balancer,
		Rules:       r.rules.live,
		Certificate: r.certificate,
		Connections: r.connections,
		Logins:      r.logins,
		Feed:        r.sinks.feed,
		Metrics:     r.metricsHandler(),
		Capture:     api.CaptureHandler(r.recorder, r.watch, r.log),
		Overload:    r.overload,
		Page:        web.Handler(),

		Supervisor: r.supervisor,
	}, r.log)
}

// nameOf returns the relay's name for operators: "" if the host has none either.
func nameOf(c config.Config) string {
	if c.Name != "" {
		return c.Name
	}
	host, _ := os.Hostname()
	return host
}

// metricsHandler makes the handler of /metrics.
func (r *relay) metricsHandler() http.Handler {
	s := metrics.Sources{
		Version: r.version, Shards: r.group, Kernel: &r.kernel, Backends: r, Events: r.sinks.counted, Quality: r.quality,
		Streams: r.watch, StreamsShown: r.config.MetricsStreams,
		Histories: r.watch.Histories,
	}
	if r.certificate != nil {
		s.Certificate = r.certificate.NotAfter
	}
	s.Connections = func() (open int, replaced, refused uint64) {
		n := r.connections.Counts()
		return n.Open, n.Replaced, n.Refused
	}
	s.Reloads = r.reloads.stats
	s.Overload = r.overload
	s.Log, s.Supervisor, s.EventLog = r.lines.Stats, r.supervisor, r.eventFile.stats()
	if r.passing != nil {
		s.Relays = r.passing.link.Stats
	}
	if r.cluster != nil {
		s.Cluster = r.cluster.Counts
	}
	if r.balancer.shared != nil { // not a nil *redis.Balancer in Store
		s.Store = r.balancer.shared
	}
	return metrics.Handler(s, r.log)
}

// Backends implements api.Backends and metrics.Backends. The registry knows the
// backends, the balancer their sessions and ejections, and the shards their bitrates.
func (r *relay) Backends() []answer.Backend {
	loads := make(map[backend.ID]api.Load)
	for id, l := range r.balancer.memory.Loads() {
		loads[id] = api.Load(l)
	}
	ejected := make(map[backend.ID]api.Ejection)
	for id, e := range r.balancer.memory.Ejections() {
		ejected[id] = api.Ejection(e)
	}
	return api.DescribeBackends(api.BackendStates{
		Ejections: ejected,
		Snapshot:  r.registry.Snapshot(), Seen: r.registry.LastSeen(), Loads: loads, Bitrates: r.bitrates.all(), Now: time.Now(),
	})
}

// readiness implements api.State.
type readiness struct {
	started, draining atomic.Bool
	registry          *backend.Registry
	// withoutBackends makes the relay ready also while no backend can take a stream.
	withoutBackends atomic.Bool
	// shared is the state shared by relays; nil with --state memory.
	shared *redis.Balancer
	lines  *asynclog.Log
	// overload says what the relay has given up.
	overload *overloadMonitor
}

const (
	// logStalled is how long the log's reader must be stalled before /ready says so.
	logStalled = 5 * time.Second
	// logLossShown is how long /ready mentions that lines of the log were lost: long
	// enough for somebody to look.
	logLossShown = 5 * time.Minute
)

// Ready implements api.State. A relay whose log is not read is ready all the same.
func (l *readiness) Ready() (bool, string) {
	ready, reason := l.takesCallers()
	overloaded, full := l.overload.problem()
	return ready && !full, joined(reason, overloaded, logProblem(l.lines.Stats(), time.Now()))
}

// logProblem returns what is wrong with the log, "" for nothing.
func logProblem(s asynclog.Stats, now time.Time) string {
	switch {
	case !s.Since.IsZero() && now.Sub(s.Since) > logStalled:
		problem := fmt.Sprintf("the log is not read since %s, %d lines lost", s.Since.UTC().Format(time.RFC3339), s.Lost)
		if s.Err != nil {
			problem += ": " + s.Err.Error()
		}
		return problem
	case s.Lost > 0 && now.Sub(s.LastLost) < logLossShown:
		return fmt.Sprintf("%d lines of the log were lost, the last one at %s", s.Lost, s.LastLost.UTC().Format(time.RFC3339))
	}
	return ""
}

// takesCallers reports whether callers can be served. A relay that has reached the
// shared state once stays ready without it, and goes on with what it knows.
func (l *readiness) takesCallers() (ready bool, reason string) {
	if !l.started.Load() {
		return false, "starting"
	}
	available, reason := l.Available()
	ready = available > 0 || l.withoutBackends.Load()
	if l.shared == nil {
		return ready, reason
	}
	inUse, since, detail := l.shared.State()
	if !inUse {
		detail = "redis is away since " + since.UTC().Format(time.RFC3339) + ": " + detail
	}
	return ready && l.shared.Reached(), joined(reason, detail)
}

// Available implements api.State.
func (l *readiness) Available() (n int, why string) {
	return l.registry.Snapshot().Availability(time.Now())
}

// joined returns the reasons that are not "", as one text.
func joined(reasons ...string) string {
	return strings.Join(slices.DeleteFunc(reasons, func(s string) bool { return s == "" }), "; ")
}

// Draining implements api.State.
func (l *readiness) Draining() bool { return l.draining.Load() }
