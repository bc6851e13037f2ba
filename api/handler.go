package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strconv"
	"strings"

	"srtrelay/api/answer"
)

// handler answers requests.
type handler struct {
	version  string
	pid      string
	rooms    Rooms
	log      *slog.Logger
	pages    *http.CrossOriginProtection
	refusals refusals
	// lasting bounds the feeds and captures that are open.
	lasting gate
	// asking bounds the questions to all shards, large the great answers that
	// are made or on their way.
	asking, large gate
	// closing ends when the server shuts down, by close.
	closing context.Context
	close   context.CancelFunc
}

// reply is the frame of every answer. SRS's tools read code, and pid where
// they know it; an error has a non-zero code.
type reply = answer.Reply[any]

func newHandler(version string, rooms Rooms, log *slog.Logger) *handler {
	if rooms.Connections == nil {
		rooms.Connections = NewConnections(MaxConnections)
	}
	closing, closeAll := context.WithCancel(context.Background())
	return &handler{
		lasting: make(gate, rooms.Connections.lasting),
		version: version, pid: strconv.Itoa(os.Getpid()), rooms: rooms, log: log,
		pages: http.NewCrossOriginProtection(), refusals: refusals{log: log},
		asking: make(gate, maxAsking), large: make(gate, maxLarge), closing: closing, close: closeAll,
	}
}

// methods are the calls that a path takes, by method.
type methods map[string]http.HandlerFunc

// get is a path that is only read.
func get(next http.HandlerFunc) methods { return methods{http.MethodGet: next, http.MethodHead: next} }

// post is a path that is only posted to.
func post(next http.HandlerFunc) methods { return methods{http.MethodPost: next} }

// routes is every path of the API, in ServeMux's patterns. openapi.yaml tells
// the same to the world.
func (h *handler) routes() map[string]methods {
	routes := map[string]methods{
		"/live":                         get(h.live),
		"/ready":                        get(h.ready),
		"/metrics":                      get(h.rooms.Metrics.ServeHTTP),
		"/api/v1/openapi.yaml":          get(openAPI),
		"/api/v1/versions":              get(h.versions),
		"/api/v1/backends":              get(h.backends),
		"/api/v1/origins":               get(h.backends), // SRS's word for them
		"/api/v1/backends/{id}":         {http.MethodDelete: h.guarded(h.forget)},
		"/api/v1/backends/{id}/drain":   post(h.guarded(h.drain(true))),
		"/api/v1/backends/{id}/undrain": post(h.guarded(h.drain(false))),
		registerPath:                    post(h.guarded(h.register)),
		registerPath + "/{token...}":    post(h.guarded(h.register)),
		"/api/v1/shards":                get(h.shards),
		"/api/v1/resolve":               get(h.resolve),
		"/api/v1/sessions":              get(h.bounded(h.sessions)),
		"/api/v1/streams":               get(h.bounded(h.streams)),
		"/api/v1/streams/one":           get(h.bounded(h.stream)),
		"/api/v1/events":                {http.MethodGet: h.endless(h.events)},
	}
	session := get(h.session)
	session[http.MethodDelete] = h.guarded(h.kick)
	routes["/api/v1/sessions/{id}"] = session
	if h.rooms.Capture != nil {
		routes["/api/v1/capture"] = methods{http.MethodGet: h.trusted(h.endless(h.rooms.Capture.ServeHTTP))}
	}
	if h.rooms.Page != nil {
		routes["/{$}"], routes["/ui/"] = get(h.rooms.Page.ServeHTTP), get(h.rooms.Page.ServeHTTP)
	}
	h.profiles(routes)
	return routes
}

// mux answers every path, and refuses what is not for the relay on all alike.
func (h *handler) mux() http.Handler {
	mux := http.NewServeMux()
	for path, calls := range h.routes() {
		mux.Handle(path, calls)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such path: "+shownPath(r))
	})
	return h.rejectRebinding(mux)
}

// profiles are guarded as well: the command line may hold the token.
func (h *handler) profiles(routes map[string]methods) {
	for path, profile := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace,
	} {
		routes[path] = get(h.guarded(profile))
	}
	for _, c := range contentions() {
		routes["/debug/pprof/"+c.name] = get(h.guarded(c.serve))
	}
	// The pprof tool posts the addresses that it wants to be named.
	symbol := h.guarded(pprof.Symbol)
	routes["/debug/pprof/symbol"] = methods{http.MethodGet: symbol, http.MethodPost: symbol}
}

// ServeHTTP picks the call. ServeMux could, but answers the wrong method in
// plain text.
func (m methods) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	next, ok := m[r.Method]
	if !ok {
		allow := strings.Join(slices.Sorted(maps.Keys(m)), ", ")
		w.Header().Set("Allow", allow)
		fail(w, http.StatusMethodNotAllowed, "method not allowed, use "+allow)
		return
	}
	next(w, r)
}

// fail answers with an error; its code is the HTTP status.
func fail(w http.ResponseWriter, status int, text string) {
	write(w, status, reply{Code: status, Error: text})
}

func write(w http.ResponseWriter, status int, r reply) {
	body, err := json.Marshal(r)
	if err != nil {
		// Only a value that JSON cannot hold gets here, such as NaN.
		status, body = http.StatusInternalServerError, []byte(`{"code":500,"error":"answer cannot be written as JSON"}`)
	}
	body = answer.EscapeJSON(body)
	header := w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone: its loss
}

func (h *handler) live(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, reply{Data: map[string]bool{"live": true}})
}

// readiness is the detail of /ready. A relay that is ready may have a reason
// too: what it does without for the time being.
type readiness struct {
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
	Reason   string `json:"reason,omitempty"`
}

func (h *handler) ready(w http.ResponseWriter, _ *http.Request) {
	open, reason := h.rooms.State.Ready()
	d := readiness{Ready: open, Draining: h.rooms.State.Draining(), Reason: reason}
	if d.Draining {
		d.Ready, d.Reason = false, "draining"
	}
	if d.Ready {
		write(w, http.StatusOK, reply{Data: d})
		return
	}
	const status = http.StatusServiceUnavailable
	write(w, status, reply{Code: status, Error: "not ready: " + d.Reason, Data: d})
}

// versions is what SRS's tools ask first, in the shape they expect.
type versions struct {
	Signature string `json:"signature"`
	Version   string `json:"version"`
	Major     int    `json:"major"`
	Minor     int    `json:"minor"`
	Revision  int    `json:"revision"`
}

func (h *handler) versions(w http.ResponseWriter, _ *http.Request) {
	v := versions{Signature: "srtrelay", Version: h.version}
	v.Major, v.Minor, v.Revision = splitVersion(h.version)
	write(w, http.StatusOK, reply{PID: h.pid, Data: v})
}

// splitVersion reads the numbers of v1.2.3-suffix; a build without a version
// has zeros.
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
