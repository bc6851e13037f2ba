package main

import (
	"fmt"
	"net/http"
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
	"srtrelay/observe/capture/pcapng"
	"srtrelay/observe/metrics"
	"srtrelay/observe/streams"
	"srtrelay/shard"
	"srtrelay/streamid/rules"
)

// control is what the API and the metrics are joined to.
type control struct {
	config config.Config
	known  knownBackends
	chosen choice
	group  *shard.Group
	watch  *streams.Watch
	rules  *rules.Live
	state  *lifeState
	told   chronicle
	// connections bounds those of the API.
	connections *api.Connections
	// quality is what watch has observed.
	quality *metrics.Quality
	process process
}

// server joins the API to the rooms it asks.
func (c control) server() *api.Server {
	version, log := buildVersion(), c.process.log
	return api.New(version, api.Rooms{
		Shards:      c.group,
		Backends:    c.known,
		Streams:     c.watch,
		State:       c.state,
		Registry:    c.known.registry,
		Resolver:    c.chosen,
		Rules:       c.rules,
		TTL:         c.config.BackendTTL,
		Token:       c.config.RegisterToken,
		Hosts:       c.config.APIHosts,
		Connections: c.connections,
		Feed:        c.told.feed,
		Metrics:     c.metrics(version),
		Capture:     api.Captures(pcapng.NewRecorder(c.group, "srtrelay "+version), log),
		Page:        web.Handler(),

		Supervisor: c.process.supervisor,
	}, log)
}

// metrics joins the metrics to the rooms they show.
func (c control) metrics(version string) http.Handler {
	s := metrics.Sources{
		Version: version, Shards: c.group, Backends: c.known, Events: c.told.counted, Quality: c.quality,
		Streams: c.watch, StreamsShown: c.config.MetricsStreams,
		Histories: func() (kept, leftOut int) {
			left := c.watch.Left()
			return left.Streams, left.LeftOut
		},
	}
	s.Connections = func() (open int, replaced, refused uint64) {
		n := c.connections.Counts()
		return n.Open, n.Replaced, n.Refused
	}
	s.Log, s.Supervisor = c.process.lines.Stats, c.process.supervisor
	if c.chosen.shared != nil { // not a nil *redis.Balancer in Store
		s.Store = c.chosen.shared
	}
	return metrics.Handler(s, c.process.log)
}

// lifeState is what the API says of the process.
type lifeState struct {
	started, draining atomic.Bool
	// shared is the store that relays share, nil without one.
	shared *redis.Balancer
	lines  *asynclog.Log
}

// logStalled is for how long the log must have written nothing until /ready
// says so.
const logStalled = 5 * time.Second

// Ready implements api.State. A relay whose log is not read is ready, too.
func (l *lifeState) Ready() (bool, string) {
	ready, reason := l.open()
	if s := l.lines.Stats(); ready && !s.Since.IsZero() && time.Since(s.Since) > logStalled {
		amiss := fmt.Sprintf("the log is not read since %s, %d lines lost", s.Since.UTC().Format(time.RFC3339), s.Lost)
		if s.Err != nil {
			amiss += ": " + s.Err.Error()
		}
		reason = strings.TrimPrefix(reason+"; "+amiss, "; ")
	}
	return ready, reason
}

// open reports whether callers can be taken. A relay that has once reached the
// shared store stays ready without it: it goes on from what it knows.
func (l *lifeState) open() (bool, string) {
	if !l.started.Load() {
		return false, "starting"
	}
	if l.shared == nil {
		return true, ""
	}
	inUse, since, detail := l.shared.State()
	if !inUse {
		detail = "redis is away since " + since.UTC().Format(time.RFC3339) + ": " + detail
	}
	return l.shared.Reached(), detail
}

// Draining implements api.State.
func (l *lifeState) Draining() bool { return l.draining.Load() }

// knownBackends shows the backends to the API and the metrics: what the
// registry knows of them, and what they carry by the balancer's books and the
// shards' rates.
type knownBackends struct {
	registry *backend.Registry
	chosen   choice
	carried  *bitrates
}

// Backends implements api.Backends and metrics.Backends.
func (k knownBackends) Backends() []answer.Backend {
	loads := make(map[backend.ID]api.Load)
	for id, l := range k.chosen.memory.Loads() {
		loads[id] = api.Load(l)
	}
	ejected := make(map[backend.ID]api.Ejection)
	for id, e := range k.chosen.memory.Ejections() {
		ejected[id] = api.Ejection(e)
	}
	return api.View(api.Known{
		Ejections: ejected,
		Snapshot:  k.registry.Snapshot(), Seen: k.registry.Seen(), Loads: loads, Bitrates: k.carried.all(), Now: time.Now(),
	})
}
