package web

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"srtrelay/api/answer"
)

// fakeRelay answers as the relay's API does, from fixtures. Its clock stands
// still unless it is told to live, so that a page can be compared with it.
type fakeRelay struct {
	t      *testing.T
	server *httptest.Server

	mu      sync.Mutex
	streams int
	shards  int
	second  int
	huge    bool // addresses and figures are as long as they can be
	lives   bool // each answer about the shards is a second later
	answers int  // about the shards; its clock is a second later with each
	// counters, if it is set, answers about the shards in place of fixtures.
	counters func() answer.ShardList
	delay    func() // before and after each answer
	ready    readiness
	// relays are those that share the state with this one; none for a relay alone.
	relays  *answer.RelayList
	name    string
	drained []string // what was asked about draining
	pid     string
	token   string
	private bool     // even versions are only for who has logged in
	closed  []string // sessions
	asked   []string // path and query of every request for streams
	after   []string // what every reader of events had already
	events  []answer.Event
	readers map[chan answer.Event]bool
	mute    bool   // sessions are closed without an answer
	failing string // every call is answered with this error

	order map[string][]answer.Stream // of this second, by what was asked for
	at    int
}

func startRelay(t *testing.T, streams int) *fakeRelay {
	r := &fakeRelay{t: t, streams: streams, shards: 8, pid: "100", name: "relay-a", ready: readiness{Ready: true}, readers: map[chan answer.Event]bool{}}
	r.server = httptest.NewServer(r.handler())
	t.Cleanup(func() { r.stop() })
	return r
}

// readiness is what /ready says.
type readiness struct {
	Ready    bool   `json:"ready"`
	Draining bool   `json:"draining"`
	Reason   string `json:"reason,omitempty"`
}

// stop ends the server and every connection, streams of events too.
func (r *fakeRelay) stop() {
	r.server.CloseClientConnections()
	r.server.Close()
}

// restart opens the same port as another process.
func (r *fakeRelay) restart() {
	address := r.server.Listener.Addr().String()
	l, err := net.Listen("tcp", address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.change(func() { r.pid = "200" })
	r.server = &httptest.Server{Listener: l, Config: &http.Server{Handler: r.handler()}}
	r.server.Start()
}

func (r *fakeRelay) change(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

func (r *fakeRelay) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/{$}", Handler())
	mux.Handle("/ui/", Handler())
	call := func(pattern string, f func(w http.ResponseWriter, q *http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, q *http.Request) {
			if r.delay != nil {
				r.delay()
				defer r.delay()
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.failing != "" {
				refuse(w, http.StatusServiceUnavailable, r.failing)
				return
			}
			if data := f(w, q); data != nil {
				reply(w, http.StatusOK, answer.Reply[any]{PID: r.pid, Data: data})
			}
		})
	}
	call("GET /api/v1/versions", func(w http.ResponseWriter, q *http.Request) any {
		if r.private && !r.loggedIn(q) {
			refuse(w, http.StatusUnauthorized, "token: missing")
			return nil
		}
		return map[string]any{"version": "v0.5.0", "name": r.name, "shared_state": r.relays != nil}
	})
	call("POST /api/v1/login", func(w http.ResponseWriter, q *http.Request) any {
		if q.Header.Get("Authorization") != "Bearer "+r.token {
			refuse(w, http.StatusUnauthorized, "token: wrong")
			return nil
		}
		http.SetCookie(w, &http.Cookie{Name: loginCookie(q), Value: r.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		return map[string]string{"access": "full"}
	})
	call("GET /ready", func(w http.ResponseWriter, _ *http.Request) any {
		if r.ready.Ready {
			return r.ready
		}
		reply(w, http.StatusServiceUnavailable, answer.Reply[any]{Code: http.StatusServiceUnavailable, Error: "not ready", Data: r.ready})
		return nil
	})
	call("GET /api/v1/shards", func(http.ResponseWriter, *http.Request) any {
		if r.counters != nil {
			return r.counters()
		}
		if r.lives {
			r.second++
		}
		r.answers++
		l := shardsAt(r.shards, r.second)
		l.TakenAt = noon.Add(time.Duration(r.answers) * time.Second)
		if r.huge {
			enlargeShards(&l)
		}
		return l
	})
	call("GET /api/v1/backends", func(http.ResponseWriter, *http.Request) any { return r.backends() })
	call("POST /api/v1/backends/{id}/{what}", r.drain)
	call("GET /api/v1/streams", r.list)
	call("GET /api/v1/streams/one", r.one)
	call("GET /api/v1/sessions/{id}", r.session)
	call("DELETE /api/v1/sessions/{id}", r.close)
	call("GET /api/v1/cluster", func(http.ResponseWriter, *http.Request) any { return r.relays })
	call("GET /api/v1/cluster/streams", r.clusterStreams)
	mux.HandleFunc("GET /api/v1/events", r.feed)
	return mux
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, text string) {
	reply(w, status, answer.Reply[any]{Code: status, Error: text})
}

func number(q *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(q.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}

// sorted are the streams that fit, in the order that the API promises.
func (r *fakeRelay) sorted(by, match, backend string) []answer.Stream {
	asked := fmt.Sprint(r.streams, " ", by, " ", match, " ", backend)
	if r.order == nil || r.at != r.second {
		r.order, r.at = map[string][]answer.Stream{}, r.second
	}
	if all, found := r.order[asked]; found {
		return all
	}
	var all []answer.Stream
	for i := range r.streams {
		s := streamAt(i, r.second, 0)
		s.Publishers, s.Retransmitted = i, 0 // remembers its number for the history
		if strings.Contains(s.Key, match) && (backend == "" || s.Backend.ID == backend) {
			all = append(all, s)
		}
	}
	worst := func(a, b *float64) float64 {
		if a == nil || b == nil {
			return -1
		}
		return max(*a, *b)
	}
	slices.SortStableFunc(all, func(a, b answer.Stream) int {
		switch by {
		case "key":
			return cmp.Compare(a.Key, b.Key)
		case "rtt":
			return cmp.Compare(worst(b.CallerRTT, b.BackendRTT), worst(a.CallerRTT, a.BackendRTT))
		case "loss":
			return cmp.Compare(worst(b.CallerLoss, b.BackendLoss), worst(a.CallerLoss, a.BackendLoss))
		case "sessions":
			return cmp.Compare(b.Sessions, a.Sessions)
		}
		return cmp.Compare(b.BitrateIn+b.BitrateOut, a.BitrateIn+a.BitrateOut)
	})
	r.order[asked] = all
	return all
}

func (r *fakeRelay) list(_ http.ResponseWriter, q *http.Request) any {
	r.asked = append(r.asked, q.URL.RequestURI())
	query := q.URL.Query()
	all := r.sorted(query.Get("sort"), query.Get("q"), query.Get("backend"))
	l := answer.StreamList{Total: len(all), TakenAt: noon, Streams: []answer.Stream{}}
	from := min(number(q, "offset", 0), len(all))
	for _, s := range all[from:min(from+number(q, "limit", 100), len(all))] {
		one := streamAt(s.Publishers, r.second, number(q, "history", 0))
		if r.huge {
			enlargeStream(&one)
		}
		l.Streams = append(l.Streams, one)
	}
	return l
}

// index finds a stream by key.
func (r *fakeRelay) index(key string) int {
	for i := range r.streams {
		if streamAt(i, 0, 0).Key == key {
			return i
		}
	}
	return -1
}

func (r *fakeRelay) one(w http.ResponseWriter, q *http.Request) any {
	key := q.URL.Query().Get("key")
	i := max(r.index(key), r.index("__defaultVhost__/"+key))
	if i < 0 {
		refuse(w, http.StatusNotFound, "no such stream")
		return nil
	}
	d := answer.StreamDetail{Stream: streamAt(i, r.second, 120), SessionList: []answer.Session{}}
	for _, s := range sessionsOf(i, r.second) {
		if !slices.Contains(r.closed, s.ID) {
			if r.huge {
				enlargeSession(&s)
			}
			d.SessionList = append(d.SessionList, s)
		}
	}
	if r.huge {
		enlargeStream(&d.Stream)
	}
	return d
}

func (r *fakeRelay) session(w http.ResponseWriter, q *http.Request) any {
	id := q.PathValue("id")
	for i := range r.streams {
		for _, s := range sessionsOf(i, r.second) {
			if s.ID == id && !slices.Contains(r.closed, id) {
				if r.huge {
					enlargeSession(&s)
				}
				return s
			}
		}
	}
	refuse(w, http.StatusNotFound, "no such session")
	return nil
}

// backends are those of the fixture, drained as they were asked to be.
func (r *fakeRelay) backends() answer.BackendList {
	l := backendsAt(r.second)
	if r.huge {
		enlargeBackends(&l)
	}
	for _, asked := range r.drained {
		for i := range l.Backends {
			if b := &l.Backends[i]; asked == b.ID+" drain" || asked == b.ID+" undrain" {
				b.Draining = asked == b.ID+" drain"
			}
		}
	}
	return l
}

func (r *fakeRelay) drain(w http.ResponseWriter, q *http.Request) any {
	if !r.authorized(w, q) {
		return nil
	}
	r.drained = append(r.drained, q.PathValue("id")+" "+q.PathValue("what"))
	return map[string]any{"id": q.PathValue("id"), "draining": q.PathValue("what") == "drain"}
}

func (r *fakeRelay) authorized(w http.ResponseWriter, q *http.Request) bool {
	if r.token == "" || r.loggedIn(q) {
		return true
	}
	refuse(w, http.StatusUnauthorized, "token: missing")
	return false
}

func (r *fakeRelay) close(w http.ResponseWriter, q *http.Request) any {
	if !r.authorized(w, q) {
		return nil
	}
	r.closed = append(r.closed, q.PathValue("id"))
	if r.mute {
		panic(http.ErrAbortHandler)
	}
	return map[string]string{"id": q.PathValue("id")}
}

// loginCookie has the port in its name, as the relay's: browsers send a cookie to all ports.
func loginCookie(q *http.Request) string {
	_, port, _ := net.SplitHostPort(q.Host)
	return "login-" + port
}

func (r *fakeRelay) loggedIn(q *http.Request) bool {
	c, err := q.Cookie(loginCookie(q))
	return err == nil && c.Value == r.token
}

// repeat tells the last event once more, as a relay may after a break.
func (r *fakeRelay) repeat() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for reader := range r.readers {
		reader <- r.events[len(r.events)-1]
	}
}

// tell adds an event and sends it to who listens.
func (r *fakeRelay) tell(e answer.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e.ID = uint64(len(r.events) + 1)
	if e.Time.IsZero() {
		e.Time = noon.Add(time.Duration(e.ID) * time.Second)
	}
	r.events = append(r.events, e)
	for reader := range r.readers {
		reader <- e
	}
}

func (r *fakeRelay) feed(w http.ResponseWriter, q *http.Request) {
	after := uint64(number(q, "after", 0))
	if id, err := strconv.ParseUint(q.Header.Get("Last-Event-ID"), 10, 64); err == nil {
		after = id
	}
	mine := make(chan answer.Event, 4096)
	r.mu.Lock()
	r.after = append(r.after, q.URL.Query().Get("after"))
	for _, e := range r.events {
		if e.ID > after {
			mine <- e
		}
	}
	r.readers[mine] = true
	r.mu.Unlock()
	defer r.change(func() { delete(r.readers, mine) })
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	for {
		_ = http.NewResponseController(w).Flush()
		select {
		case e := <-mine:
			text, _ := json.Marshal(e)
			fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.ID, e.Kind, text)
		case <-q.Context().Done():
			return
		}
	}
}
