package api

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/internal/srsfake"
	"srtrelay/shard"
)

// A page whose name was bound to the relay's address (DNS rebinding) is of the
// relay's origin to the browser and reads any answer. Every route is tried, of
// the router itself, so that a new one cannot be forgotten.
func TestRebindingReadsNothing(t *testing.T) {
	for token, d := range map[string]*fixture{
		"": everything(t, func(r *Deps) { r.Token = "" }), "secret-token": everything(t, nil),
	} {
		d.from = "127.0.0.1:40000"
		tried := 0
		try := func(method, path string) {
			tried++
			d.host = "evil.example:12025"
			if w := d.call(method, path, ""); w.Code != http.StatusForbidden || !strings.HasPrefix(w.Body.String(), `{"code":403,"error":"host: `) {
				t.Errorf("token %q: %s %s: %d %.80s", token, method, path, w.Code, w.Body)
			}
			if token == "" || path == "/debug/pprof/profile" || path == "/debug/pprof/trace" {
				return // these two would take their time
			}
			if w := d.call(method, path, "", "Authorization", "Bearer "+token); strings.Contains(w.Body.String(), `"host: `) {
				t.Errorf("%s %s: refused although it brings the token", method, path)
			}
		}
		for pattern, calls := range newHandler("v1", d.deps, discard).routes() {
			path := strings.NewReplacer("{id}", "0-1-2", "{token...}", "x", "{$}", "").Replace(pattern)
			for method := range calls {
				try(method, path)
			}
		}
		for _, path := range []string{"/ui/app.js", "/no/such/path", "/api/v1//streams", "/api/v1/streams/"} {
			try(http.MethodGet, path)
		}
		try(http.MethodPatch, "/metrics")
		if tried < 30 {
			t.Fatalf("only %d calls were tried", tried)
		}
	}
}

func TestOwnHosts(t *testing.T) {
	h := newHandler("v1", Deps{Settings: Settings{Hosts: []string{"relay-1.example", "relay"}}}, discard)
	for host, own := range map[string]bool{
		"127.0.0.1:12025": true, "[::1]:12025": true, "::1:12025": true, "::1": true, "[fe80::1%eth0]:80": true, "10.0.0.1": true, "localhost:12025": true,
		"LOCALHOST": true, "localhost.": true, "relay-1.example:12025": true, "Relay-1.Example.": true, "relay": true,
		// A browser always says whom it means; a health check may not.
		"":                   true,
		"evil.example:12025": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false, "relay-1.example.evil.example": false,
		"xrelay": false, "1.2.3": false, "0x7f000001": false, ":12025": false, "relay-1.example:80:80": false,
	} {
		if h.isOwnHost(host) != own {
			t.Errorf("Host %q: own %v, want %v", host, !own, own)
		}
	}
}

// SRS names the relay as its heartbeat's URL does, from any host; it needs no
// more than the token in its path. What it drops, the query, is dropped here too.
func TestServersRegisterAsSRSDoes(t *testing.T) {
	d := newFixture(t, "correct/horse")
	s := New("v1", d.deps, d.logger())
	startServing(t, s)
	at := "http://localhost:" + strconv.Itoa(int(s.Addr().Port())) + register
	srs := srsfake.New(1, netip.MustParseAddrPort("10.0.0.5:10080"))
	for end, want := range map[string]int{
		"": 401, "?token=correct%2Fhorse": 401, "/wrong?token=correct%2Fhorse": 401, "/correct%2Fhors": 401,
		"/correct%2Fhorse": 200, "/correct/horse": 200,
	} {
		if status, answer, err := srs.Beat(at + end); status != want || err != nil {
			t.Errorf("%s: %d %s %v, want %d", end, status, answer, err, want)
		}
	}
	again := srs.Restarted()
	if status, answer, err := again.Beat(at + "/correct%2Fhorse"); status != 200 || err != nil {
		t.Errorf("after its restart: %d %s %v", status, answer, err)
	}
	if _, old := d.Snapshot().Find(backend.ID(srs.ID())); old || len(d.Snapshot().Backends) != 1 {
		t.Errorf("known %+v", d.Snapshot().Backends)
	}
	d.host = "relay.internal:12025"
	if w := d.call("POST", register, sample); w.Code != http.StatusForbidden {
		t.Errorf("by a name, without the token: %d %s", w.Code, w.Body)
	}
	d.expect(200, accepted, d.call("POST", register+"/correct%2Fhorse", sample))
}

// everything is the API with all Deps.
func everything(t *testing.T, change func(*Deps)) *fixture {
	d := newFixture(t, "secret-token")
	d.deps.Streams = &spoken{}
	d.deps.Shards = &relay{stats: []shard.Stats{{Shard: 0}, {Shard: 1}}}
	d.deps.Capture = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := parseQuery(r.URL.RawQuery, "stream", "session", "payload", "seconds", "bytes", "rate")
		switch {
		case p.err != nil:
			writeError(w, http.StatusBadRequest, p.err.Error())
		case p.text("session") == "0-9-9":
			writeError(w, http.StatusNotFound, "session: no such session")
		case p.text("stream") == "busy":
			unavailable(w, "too many captures")
		default:
			w.Header().Set("Content-Type", "application/x-pcapng")
			_, _ = io.WriteString(w, "\n\r\r\n")
		}
	})
	d.deps.Page = http.NotFoundHandler()
	d.deps.Cluster, d.shared = twoRelays{}, answer.SharedPending
	d.deps.Reload = func(context.Context) (answer.Reload, error) {
		return answer.Reload{
			File: "/etc/srtrelay/relay.yaml", NeedUpgrade: []string{"shards"}, Warnings: []string{},
			Changes: []answer.SettingChange{{Setting: "grace", From: "20s", To: "1m", Applied: true}, {Setting: "shards", From: "2", To: "4"}},
		}, nil
	}
	d.Put(backend.Backend{ID: "static", Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("10.0.0.1:1"), KeyLen: 2, Added: time.Now()})
	d.Put(backend.Backend{ID: "removed", Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("10.0.0.2:1"), Added: time.Now(), Removed: true})
	if change != nil {
		change(&d.deps)
	}
	d.deps.Name = "edge-1"
	h := newHandler("v1.2.3", d.deps, d.logger())
	h.close() // answers without an end, end
	d.http = h.mux()
	return d
}
