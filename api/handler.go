package api

import (
	"context"
	_ "embed"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"srtrelay/api/answer"
)

// handler holds what the handlers of all paths need.
type handler struct {
	version     string
	pid         string
	deps        Deps
	log         *slog.Logger
	crossOrigin *http.CrossOriginProtection
	refusals    refusalLog
	clock       clock
	settings    atomic.Pointer[inForce]
	// longLivedSlots bounds the open feeds and captures.
	longLivedSlots semaphore
	// querySlots bounds the queries to all shards, largeSlots the large answers in
	// preparation or on their way.
	querySlots, largeSlots semaphore
	// closing ends when the server shuts down; close ends it.
	closing context.Context
	close   context.CancelFunc
}

// reply is the frame of every JSON answer. SRS's tools read code, and pid where they
// know it. An error has a code other than 0.
type reply = answer.Reply[any]

func newHandler(version string, deps Deps, log *slog.Logger) *handler {
	if deps.Connections == nil {
		deps.Connections = NewConnections(MaxConnections)
	}
	if deps.Logins == nil {
		deps.Logins = NewLogins()
	}
	closing, closeAll := context.WithCancel(context.Background())
	h := &handler{
		longLivedSlots: make(semaphore, deps.Connections.longLived),
		version:        version, pid: strconv.Itoa(os.Getpid()), deps: deps, log: log,
		crossOrigin: http.NewCrossOriginProtection(), refusals: refusalLog{log: log}, clock: clock{time.Now()},
		querySlots: make(semaphore, maxQueries), largeSlots: make(semaphore, maxLarge), closing: closing, close: closeAll,
	}
	h.set(deps.Settings)
	h.deps.Settings = Settings{} // those in force are in settings
	return h
}

// clock tells the time by how long it is since it began: no setting of the host's clock
// comes between two answers.
type clock struct{ began time.Time }

func (c clock) now() time.Time { return c.began.Add(time.Since(c.began)).UTC() }

// methods are the handlers of a path by HTTP method.
type methods map[string]http.HandlerFunc

// get are the methods of a path that is only read.
func get(next http.HandlerFunc) methods { return methods{http.MethodGet: next, http.MethodHead: next} }

// post are the methods of a path that only takes POST.
func post(next http.HandlerFunc) methods { return methods{http.MethodPost: next} }

// routes returns every path of the API, as patterns of http.ServeMux. A test compares
// them with openapi.yaml.
func (h *handler) routes() map[string]methods {
	routes := map[string]methods{
		"/live":                         get(h.live),
		"/ready":                        get(h.ready),
		"/metrics":                      get(h.authorizeRead(h.deps.Metrics.ServeHTTP)),
		"/api/v1/openapi.yaml":          get(openAPI),
		"/api/v1/versions":              get(h.versions),
		"/api/v1/backends":              get(h.authorizeRead(h.backends)),
		"/api/v1/origins":               get(h.authorizeRead(h.backends)), // SRS's word for backends
		"/api/v1/backends/{id}":         {http.MethodDelete: h.change(h.forget)},
		"/api/v1/backends/{id}/drain":   post(h.change(h.drain(true))),
		"/api/v1/backends/{id}/undrain": post(h.change(h.drain(false))),
		"/api/v1/backends/{id}/weight":  post(h.change(h.weigh)),
		"/api/v1/cluster":               get(h.authorizeRead(h.relays)),
		"/api/v1/cluster/streams":       get(h.authorizeRead(h.limitLarge(h.clusterStreams))),
		loginPath:                       {http.MethodPost: h.login, http.MethodDelete: h.logout},
		registerPath:                    post(h.change(h.register)),
		registerPath + "/{token...}":    post(h.change(h.register)),
		"/api/v1/reload":                post(h.authorize(h.reload)),
		"/api/v1/shards":                get(h.authorizeRead(h.shards)),
		"/api/v1/resolve":               get(h.authorizeRead(h.resolve)),
		"/api/v1/sources":               get(h.authorizeRead(h.sources)),
		"/api/v1/sessions":              get(h.authorizeRead(h.limitLarge(h.sessions))),
		"/api/v1/streams":               get(h.authorizeRead(h.limitLarge(h.streams))),
		"/api/v1/streams/one":           get(h.authorizeRead(h.limitLarge(h.stream))),
		"/api/v1/events":                {http.MethodGet: h.longLived(h.authorizeRead(h.events))},
	}
	session := get(h.authorizeRead(h.session))
	session[http.MethodDelete] = h.authorize(h.kick)
	routes["/api/v1/sessions/{id}"] = session
	if h.deps.Capture != nil {
		routes["/api/v1/capture"] = methods{http.MethodGet: h.longLived(h.authorizeSocketIDs(h.deps.Capture.ServeHTTP))}
	}
	if h.deps.Page != nil {
		routes["/{$}"], routes["/ui/"] = get(h.page), get(h.page)
	}
	h.profiles(routes)
	return routes
}

// mux returns the handler of all paths.
func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	for path, calls := range h.routes() {
		mux.Handle(path, calls)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "no such path: "+redactedPath(r))
	})
	return h.rejectRebinding(mux)
}

// ServeHTTP calls the handler of the request's method. ServeMux could do so, but would
// answer a wrong method in plain text.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next, ok := m[r.Method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allow)
		writeError(w, http.StatusMethodNotAllowed, "method not allowed, use "+allow)
		return
	}
	next(w, r)
}

// writeError answers with an error, whose code is the HTTP status.
func writeError(w http.ResponseWriter, status int, text string) {
	writeReply(w, status, reply{Code: status, Error: text})
}

func writeReply(w http.ResponseWriter, status int, r reply) {
	body, err := json.Marshal(r)
	if err != nil {
		// A value that JSON cannot hold, such as NaN.
		status, body = http.StatusInternalServerError, []byte(`{"code":500,"error":"answer cannot be written as JSON"}`)
	}
	body = answer.EscapeJSON(body)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}

func (h *handler) live(w http.ResponseWriter, _ *http.Request) {
	writeReply(w, http.StatusOK, reply{Data: map[string]bool{"live": true}})
}

// readiness is the data of /ready. Reason may also be set while Ready is true; see
// State.
type readiness struct {
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
	Reason   string `json:"reason,omitempty"`
	// Available is how many backends may get a new stream.
	Available int `json:"backends_available"`
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request) {
	open, reason := h.deps.State.Ready()
	d := readiness{Ready: open, Draining: h.deps.State.Draining(), Reason: reason}
	d.Available, _ = h.deps.State.Available()
	if d.Draining {
		d.Ready, d.Reason = false, "draining"
	}
	if d.Ready {
		writeReply(w, http.StatusOK, reply{Data: d})
		return
	}
	const status = http.StatusServiceUnavailable
	writeReply(w, status, reply{Code: status, Error: "not ready: " + d.Reason, Data: d})
}

// versions is the answer that SRS's tools ask for first, in the form they expect.
type versions struct {
	Signature string `json:"signature"`
	Version   string `json:"version"`
	Name      string `json:"name,omitempty"`
	Major     int    `json:"major"`
	Minor     int    `json:"minor"`
	Revision  int    `json:"revision"`
	// SharedState is true for a relay that shares its state with others.
	SharedState bool `json:"shared_state,omitempty"`
}

func (h *handler) versions(w http.ResponseWriter, _ *http.Request) {
	v := versions{Signature: "srtrelay", Version: h.version, Name: h.settings.Load().Name, SharedState: h.deps.Cluster != nil}
	v.Major, v.Minor, v.Revision = splitVersion(h.version)
	writeReply(w, http.StatusOK, reply{PID: h.pid, Data: v})
}

// splitVersion reads the numbers of v1.2.3-suffix. Without a version they are zeros.
func splitVersion(version string) (major, minor, revision int) {
	release, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), "-")
	parts := strings.Split(release, ".")
	if len(parts) != 3 {
		return 0, 0, 0
	}
	var n [3]int
	for i, part := range parts {
		number, err := strconv.Atoi(part)
		if err != nil {
			return 0, 0, 0
		}
		n[i] = number
	}
	return n[0], n[1], n[2]
}

// recoverPanics wraps all handlers. If one panics, the Supervisor logs and counts it,
// and the connection is closed, because part of the answer may have been sent. Without
// a Supervisor net/http does the same, except for the count.
func (h *handler) recoverPanics(next http.Handler) http.Handler {
	if h.deps.Supervisor == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch v := recover(); v {
			case nil:
			case http.ErrAbortHandler: // not a fault, but net/http's way to close the connection
				panic(v)
			default:
				_ = h.deps.Supervisor.Caught("api", "the call is cut off", v)
				panic(http.ErrAbortHandler) // which net/http does not log again
			}
		}()
		next.ServeHTTP(w, r)
	})
}

// document describes the API in OpenAPI 3.1. Tests validate all answers against it.
//
//go:embed openapi.yaml
var document []byte

func openAPI(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header.Set("Content-Type", "application/yaml")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(document) // the client may be gone
}
