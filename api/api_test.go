package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/shard"
)

var discard = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// relay stands for all Deps.
type relay struct {
	stats    []shard.Stats
	backends []answer.Backend
	spoken   spoken
	reason   string // why not ready, "" when ready
	amiss    string // while ready
	draining bool
}

func (r *relay) Stats() []shard.Stats { return r.stats }
func (r *relay) KernelPath() answer.KernelPath {
	return answer.KernelPath{On: true, Devices: []answer.KernelDevice{
		{Name: "lo", Up: map[string]uint64{"pending": 7}},
		{Name: "eth0", Problem: "no space left on device", Up: map[string]uint64{}},
	}}
}

func (r *relay) Overload() answer.Overload {
	return answer.Overload{
		On: true, Step: "telemetry", Since: time.Unix(1, 0).UTC(), Pressure: 0.82, Input: "sessions",
		Inputs: []answer.OverloadInput{
			{Name: "sessions", Pressure: new(0.82), Detail: "82 of 100 sessions"}, {Name: "memory", Detail: "cannot be read"},
		},
		Steps: []answer.OverloadStep{{
			Name: "telemetry", Effect: "sessions are not measured", EnterAt: 0.8, LeaveAt: 0.7, Active: true, Entered: 3,
		}},
	}
}

func (r *relay) Backends() []answer.Backend { return r.backends }
func (r *relay) Ready() (bool, string)      { return r.reason == "", r.reason + r.amiss }
func (r *relay) Draining() bool             { return r.draining }

func (r *relay) Available() (n int, why string) {
	for _, b := range r.backends {
		if b.Alive && !b.Draining {
			n++
		}
	}
	if n == 0 {
		why = "no backend is known"
	}
	return n, why
}

func (r *relay) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, "metrics of the relay\n")
}

func (r *relay) deps() Deps {
	return Deps{Shards: r, Kernel: r, Overload: r, Backends: r, Streams: &r.spoken, Sources: r, State: r, Metrics: r, Feed: NewFeed(time.Unix(1, 0))}
}

// ask sends one request past the network.
func (r *relay) ask(method, path string) *httptest.ResponseRecorder {
	return recordOf(newHandler("v1.2.3-4-gabc", r.deps(), discard).mux(), method, path)
}

func recordOf(h http.Handler, method, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Host, r.RemoteAddr = "127.0.0.1:12025", "127.0.0.1:40000"
	h.ServeHTTP(w, r)
	return w
}

// compact makes JSON comparable.
func compact(t *testing.T, text string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(text)); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return b.String()
}

// takenAt is the one field of an answer that is never the same.
var takenAt = regexp.MustCompile(`,"taken_at":"[^"]*"`)

func TestAnswers(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.FixedZone("", 3600))
	r := &relay{backends: DescribeBackends(BackendStates{
		Snapshot: &backend.Snapshot{Backends: []backend.Backend{
			{ID: "a", Addr: netip.MustParseAddrPort("10.0.0.1:10080"), Source: backend.SourceStatic, KeyLen: 2, Added: at, Answered: at.Add(-1)},
			{ID: "b", Addr: netip.MustParseAddrPort("10.0.0.2:10080"), Source: backend.SourceStatic, Draining: true, Down: true},
		}},
		Seen:     map[backend.ID]time.Time{"a": at},
		Loads:    map[backend.ID]Load{"a": {Sessions: 3, Streams: 2}, "gone": {Sessions: 1}},
		Bitrates: map[backend.ID]float64{"a": 1500},
		Now:      at,
	})}
	backends := `{"code":0,"data":{"total":2,"alive":1,"available":1,"backends":[
		{"id":"a","address":"10.0.0.1:10080","alive":true,"late":false,"draining":false,"ejected":false,"ejections":0,"source":"static",
		 "registered_at":"2026-05-04T02:02:01Z","updated_at":"2026-05-04T02:02:01Z","sessions":3,"streams":2,"weight":1,"bitrate_bps":1500,"key_length":16},
		{"id":"b","address":"10.0.0.2:10080","alive":false,"late":false,"draining":true,"ejected":false,"ejections":0,"source":"static",
		 "sessions":0,"streams":0,"weight":1,"bitrate_bps":0,"key_length":0}]}}`
	for _, c := range []struct {
		method, path string
		relay        *relay
		status       int
		want         string
	}{
		{"GET", "/live", r, 200, `{"code":0,"data":{"live":true}}`},
		{"GET", "/ready", r, 200, `{"code":0,"data":{"ready":true,"draining":false,"backends_available":1}}`},
		{
			"GET", "/ready", &relay{reason: "sockets not open"}, 503,
			`{"code":503,"error":"not ready: sockets not open","data":{"ready":false,"draining":false,"reason":"sockets not open","backends_available":0}}`,
		},
		{
			"GET", "/ready", &relay{amiss: "redis is away"}, 200,
			`{"code":0,"data":{"ready":true,"draining":false,"reason":"redis is away","backends_available":0}}`,
		},
		{
			"GET", "/ready", &relay{draining: true}, 503,
			`{"code":503,"error":"not ready: draining","data":{"ready":false,"draining":true,"reason":"draining","backends_available":0}}`,
		},
		{"GET", "/live", &relay{draining: true}, 200, `{"code":0,"data":{"live":true}}`},
		{
			"GET", "/api/v1/versions", r, 200,
			`{"code":0,"pid":"` + strconv.Itoa(os.Getpid()) +
				`","data":{"signature":"srtrelay","version":"v1.2.3-4-gabc","major":1,"minor":2,"revision":3}}`,
		},
		{"GET", "/api/v1/backends", r, 200, backends},
		{"GET", "/api/v1/origins", r, 200, backends},
		{"GET", "/api/v1/backends", &relay{backends: DescribeBackends(BackendStates{Snapshot: new(backend.Snapshot)})}, 200, `{"code":0,"data":{"total":0,"alive":0,"available":0,"unavailable":"no backend is known","backends":[]}}`},
		{"GET", "/", r, 404, `{"code":404,"error":"no such path: /"}`},
		{"GET", "/api/v1/stream", r, 404, `{"code":404,"error":"no such path: /api/v1/stream"}`},
		{"GET", "/live/", r, 404, `{"code":404,"error":"no such path: /live/"}`},
		{"POST", "/api/v1/versions", r, 405, `{"code":405,"error":"method not allowed, use GET, HEAD"}`},
		{"DELETE", "/metrics", r, 405, `{"code":405,"error":"method not allowed, use GET, HEAD"}`},
		{"PUT", "/debug/pprof/symbol", r, 405, `{"code":405,"error":"method not allowed, use GET, POST"}`},
	} {
		w := c.relay.ask(c.method, c.path)
		w.Body = bytes.NewBuffer(takenAt.ReplaceAll(w.Body.Bytes(), nil))
		if w.Code != c.status || compact(t, w.Body.String()) != compact(t, c.want) {
			t.Errorf("%s %s: status %d, want %d\ngot  %swant %s", c.method, c.path, w.Code, c.status, w.Body, compact(t, c.want))
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s %s: content type %q", c.method, c.path, got)
		}
		if allow := w.Header().Get("Allow"); (allow != "") != (c.status == 405) {
			t.Errorf("%s %s: Allow %q with status %d", c.method, c.path, allow, w.Code)
		}
	}
}

func TestPassedThrough(t *testing.T) {
	r := &relay{}
	if got := r.ask("GET", "/metrics").Body.String(); got != "metrics of the relay\n" {
		t.Errorf("metrics: %q", got)
	}
	if w := r.ask("GET", "/debug/pprof/goroutine?debug=1"); w.Code != 200 || !strings.Contains(w.Body.String(), "goroutine profile") {
		t.Errorf("pprof: %d %s", w.Code, w.Body)
	}
}

// Each counter appears once per shard, and the totals are sums.
func TestShards(t *testing.T) {
	r := &relay{stats: []shard.Stats{{Shard: 0}, {Shard: 1}}}
	for i := range r.stats {
		for k := range shard.NumCounters {
			r.stats[i].Values[k] = uint64(k) + 1
		}
		r.stats[i].Values[shard.CountReceiveCalls] = 2
		r.stats[i].Values[shard.CountReceivedFront] = 110
		r.stats[i].Values[shard.CountReceivedBack] = 55
		r.stats[i].Values[shard.CountKernelToBackend] = 100
		r.stats[i].Values[shard.CountKernelToCaller] = 50
		r.stats[i].Values[shard.CountKernelSessions] = 70
		r.stats[i].Values[shard.CountSessions] = 100
		r.stats[i].Values[shard.CountHalfOpen] = 10
		r.stats[i].Values[shard.CountTombstones] = 7
	}
	var got struct{ Data answer.ShardList }
	if err := json.Unmarshal(r.ask("GET", "/api/v1/shards").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Data.Shards) != 2 || got.Data.Shards[1].Shard != 1 {
		t.Fatalf("shards %+v", got.Data.Shards)
	}
	one, sum := got.Data.Shards[0], got.Data.Total
	// What the kernel has relayed itself was in no batch.
	if one.Packets != 165 || sum.Packets != 330 || one.BatchFill != 7.5 || sum.BatchFill != 7.5 {
		t.Errorf("packets %d of %d, fill %v of %v", one.Packets, sum.Packets, one.BatchFill, sum.BatchFill)
	}
	if n := len(one.Drops) + len(one.SendDrops) + len(one.Counters); n != int(shard.NumCounters) {
		t.Errorf("%d counters shown, there are %d", n, shard.NumCounters)
	}
	if k := got.Data.KernelPath; !k.On || k.Sessions != 140 || k.Devices[0].Up["pending"] != 7 || k.Devices[1].Problem == "" {
		t.Errorf("kernel path %+v", k)
	}
	value := uint64(shard.DropCookie) + 1
	if one.Drops["cookie"] != value || sum.Drops["cookie"] != 2*value {
		t.Errorf("cookie drops %d of %d, want %d of %d", one.Drops["cookie"], sum.Drops["cookie"], value, 2*value)
	}
	// Sessions that have ended, or are not established yet, are no sessions.
	if one.Sessions != 83 || sum.Sessions != 166 || sum.HalfOpen != 20 || sum.KernelDrops != 2*(uint64(shard.CountKernelDrops)+1) {
		t.Errorf("of shard 0 %+v, totals %+v", one, sum)
	}
	// The counters are not read at one instant.
	torn := &relay{stats: []shard.Stats{{}}}
	torn.stats[0].Values[shard.CountTombstones] = 1
	if w := torn.ask("GET", "/api/v1/shards"); !strings.Contains(w.Body.String(), `"total":{"sessions":0,`) {
		t.Errorf("more ended sessions than sessions: %s", w.Body)
	}
	// A shard that received nothing has no fill, and NaN is no JSON.
	if w := (&relay{stats: []shard.Stats{{}}}).ask("GET", "/api/v1/shards"); w.Code != 200 {
		t.Errorf("idle shard: %d %s", w.Code, w.Body)
	}
}

func TestSplitVersion(t *testing.T) {
	for version, want := range map[string][3]int{
		"v1.2.3": {1, 2, 3}, "1.2.3": {1, 2, 3}, "v1.2.3-4-gabc": {1, 2, 3}, "v0.0.0-2026-abc": {},
		"devel": {}, "": {}, "v1.2": {}, "v1.x.3": {}, "8a0ba13": {},
	} {
		var got [3]int
		got[0], got[1], got[2] = splitVersion(version)
		if got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func newServer() *Server {
	return New("v1", (&relay{}).deps(), slog.New(slog.DiscardHandler))
}

// startServing serves until the test ends.
func startServing(t *testing.T, s *Server) {
	t.Helper()
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.Shutdown(context.Background())
		<-served
	})
}

func TestServeAndShutdown(t *testing.T) {
	s := newServer()
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	if err := newServer().Listen(s.Addr()); err == nil {
		t.Error("a busy port was opened")
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	url := "http://" + s.Addr().String()

	client := http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	answer, err := client.Get(url + "/live")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()

	large, _ := http.NewRequest(http.MethodGet, url+"/live", nil)
	large.Header.Set("X-Large", strings.Repeat("x", 2*maxHeaderBytes))
	if answer, err = client.Do(large); err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large header: status %d", answer.StatusCode)
	}

	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve ended with %v", err)
	}
	again := newServer()
	if err := again.Listen(s.Addr()); err != nil {
		t.Errorf("the port is still taken: %v", err)
	}
	_ = again.Shutdown(t.Context())
}

// A request that is stuck must not hold up the end of the relay.
func TestShutdownCutsStuckRequest(t *testing.T) {
	r, inside := &relay{}, make(chan struct{})
	deps := r.deps()
	deps.Metrics = http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		close(inside)
		<-q.Context().Done()
	})
	s := New("v1", deps, slog.New(slog.DiscardHandler))
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	<-inside
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(ctx); err == nil {
		t.Error("no error although a request was cut off")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestShutdownWithoutServe(t *testing.T) {
	s := newServer()
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	again := newServer()
	if err := again.Listen(s.Addr()); err != nil {
		t.Errorf("the port is still taken: %v", err)
	}
	_ = again.Shutdown(t.Context())
}
