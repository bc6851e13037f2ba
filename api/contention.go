package api

import (
	"net/http"
	"net/http/pprof"
	"runtime"
	"sync"
)

// contention answers a profile that the runtime takes down only while it is
// told to: who waits for a lock (mutex), and who waits for anything (block).
// It is on for as long as a request with ?seconds=N takes, because it costs
// whoever waits.
type contention struct {
	name   string
	record func(rate int)

	mu     sync.Mutex
	takers int
}

// contentions are the two profiles, each with what switches it; 1 takes down
// every event.
func contentions() []*contention {
	return []*contention{
		{name: "mutex", record: func(rate int) { runtime.SetMutexProfileFraction(rate) }},
		{name: "block", record: runtime.SetBlockProfileRate},
	}
}

func (c *contention) serve(w http.ResponseWriter, r *http.Request) {
	if !r.URL.Query().Has("seconds") {
		fail(w, http.StatusBadRequest, "seconds: missing, the "+c.name+" profile is taken only while somebody asks for it: ?seconds=10")
		return
	}
	c.begin()
	defer c.end()
	pprof.Handler(c.name).ServeHTTP(w, r)
}

func (c *contention) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.takers++; c.takers == 1 {
		c.record(1)
	}
}

func (c *contention) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.takers--; c.takers == 0 {
		c.record(0)
	}
}
