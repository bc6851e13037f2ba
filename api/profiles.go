package api

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

// profiles adds the paths of pprof. They need the token: the command line, which pprof
// shows, may hold it.
func (h *handler) profiles(routes map[string]methods) {
	for path, profile := range map[string]http.HandlerFunc{
		"/debug/pprof/": pprof.Index, "/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile, "/debug/pprof/trace": pprof.Trace,
	} {
		routes[path] = get(h.authorize(profile))
	}
	for _, c := range contentionProfiles() {
		routes["/debug/pprof/"+c.name] = get(h.authorize(c.serve))
	}
	// The pprof tool posts the addresses whose names it wants.
	symbol := h.authorize(pprof.Symbol)
	routes["/debug/pprof/symbol"] = methods{http.MethodGet: symbol, http.MethodPost: symbol}
}

// contention serves a profile that the runtime records only while it is switched on:
// of waits for locks (mutex) or of all waits (block). Recording slows every wait, so
// it is on only while a request with ?seconds=N runs.
type contention struct {
	name   string
	record func(rate int)

	mu    sync.Mutex
	users int
}

// contentionProfiles returns both profiles with the function that switches each; rate
// 1 records every event.
func contentionProfiles() []*contention {
	return []*contention{
		{name: "mutex", record: func(rate int) { runtime.SetMutexProfileFraction(rate) }},
		{name: "block", record: runtime.SetBlockProfileRate},
	}
}

func (c *contention) serve(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("seconds") {
		writeError(w, http.StatusBadRequest, "seconds: missing, the "+c.name+" profile is taken only while somebody asks for it: ?seconds=10")
		return
	}
	c.enable()
	defer c.disable()
	pprof.Handler(c.name).ServeHTTP(w, r)
}

func (c *contention) enable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users++; c.users == 1 {
		c.record(1)
	}
}

func (c *contention) disable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.users--; c.users == 0 {
		c.record(0)
	}
}
