package api

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"slices"
	"strconv"
	"strings"
)

// handler answers requests.
type handler struct {
	version  string
	pid      string
	rooms    Rooms
	log      *slog.Logger
	pages    *http.CrossOriginProtection
	refusals refusals
}

// reply is the frame of every answer. SRS's tools read code, and pid where
// they know it; an error has a non-zero code.
type reply struct {
	Code  int    `json:"code"`
	PID   string `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
	Data  any    `json:"data,omitempty"`
}

func newHandler(version string, rooms Rooms, log *slog.Logger) http.Handler {
	h := &handler{
		version: version, pid: strconv.Itoa(os.Getpid()), rooms: rooms, log: log,
		pages: http.NewCrossOriginProtection(), refusals: refusals{log: log},
	}
	mux := http.NewServeMux()
	mux.Handle("/live", get(h.live))
	mux.Handle("/ready", get(h.ready))
	mux.Handle("/metrics", get(rooms.Metrics.ServeHTTP))
	mux.Handle("/api/v1/versions", get(h.versions))
	mux.Handle("/api/v1/backends", get(h.backends))
	mux.Handle("/api/v1/origins", get(h.backends)) // SRS's word for them
	mux.Handle("/api/v1/shards", get(h.shards))
	mux.Handle("/api/v1/resolve", get(h.resolve))
	mux.Handle("/api/v1/srs/register", only(h.guarded(h.register), http.MethodPost))
	mux.Handle("/api/v1/backends/{id}/drain", only(h.guarded(h.drain(true)), http.MethodPost))
	mux.Handle("/api/v1/backends/{id}/undrain", only(h.guarded(h.drain(false)), http.MethodPost))
	mux.Handle("/api/v1/backends/{id}", only(h.guarded(h.forget), http.MethodDelete))
	h.profiles(mux)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "no such path: "+r.URL.Path)
	})
	return mux
}

// profiles are guarded as well: the command line may hold the token.
func (h *handler) profiles(mux *http.ServeMux) {
	for path, profile := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace,
	} {
		mux.Handle(path, get(h.guarded(profile)))
	}
	for _, c := range contentions() {
		mux.Handle("/debug/pprof/"+c.name, get(h.guarded(c.serve)))
	}
	// The pprof tool posts the addresses that it wants to be named.
	mux.Handle("/debug/pprof/symbol", only(h.guarded(pprof.Symbol), http.MethodGet, http.MethodPost))
}

// get lets GET and HEAD through.
func get(next http.HandlerFunc) http.Handler {
	return only(next, http.MethodGet, http.MethodHead)
}

// only lets the given methods through. ServeMux could, but answers the others
// in plain text.
func only(next http.HandlerFunc, methods ...string) http.Handler {
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			fail(w, http.StatusMethodNotAllowed, "method not allowed, use "+allow)
			return
		}
		next(w, r)
	})
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
