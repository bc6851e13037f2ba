//go:build !race

// The validator would have to be compiled a second time for the race detector,
// to which these tests, one call after another, show nothing.

package api

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/streamid"

	"srtrelay/internal/openapi"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/streamid/rules"
)

// contract is openapi.yaml with what has been seen to keep to it.
type contract struct {
	*testing.T
	*openapi.Contract
	operations map[string]bool // "GET /path 200", and whether it was seen
}

func openContract(t *testing.T) *contract {
	t.Helper()
	doc, err := openapi.Parse(document)
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{T: t, Contract: doc, operations: map[string]bool{}}
	for _, op := range doc.Operations() {
		c.operations[op] = false
	}
	return c
}

// pathOf is the document's name for the path of a route.
func pathOf(pattern string) string {
	if strings.HasPrefix(pattern, "/debug/pprof/") && pattern != "/debug/pprof/symbol" {
		return "/debug/pprof/{profile}"
	}
	return strings.Replace(pattern, "...}", "}", 1)
}

// Every path of the API is in the document with its methods, and no other.
func TestOpenAPIHasEveryPath(t *testing.T) {
	c := openContract(t)
	documented, mounted := map[string]bool{}, map[string]bool{}
	for op := range c.operations {
		documented[op[:strings.LastIndexByte(op, ' ')]] = true
	}
	for pattern, calls := range newHandler("v1", everything(t, nil).deps, discard).routes() {
		if pattern == "/{$}" || pattern == "/ui/" {
			continue // the web page
		}
		for method := range calls {
			if method != http.MethodHead {
				mounted[method+" "+pathOf(pattern)] = true
			}
		}
	}
	for call := range mounted {
		if !documented[call] {
			t.Errorf("openapi.yaml lacks %s", call)
		}
	}
	for call := range documented {
		if !mounted[call] {
			t.Errorf("openapi.yaml has %s, which there is not", call)
		}
	}
}

// asked is a request whose answer is held against the document.
type asked struct {
	method, path, body string
	status             int
	// wrong: the document does not allow the request either.
	wrong bool
}

// Real answers, good and bad, are as the document says; and each that the
// document tells of has been seen.
func TestOpenAPIHoldsAnswers(t *testing.T) {
	c := openContract(t)
	token := []string{"Authorization", "Bearer secret-token"}
	good, locked := everything(t, nil), everything(t, func(r *Deps) { r.ReadToken = "for-readers" })
	beat := good.call("POST", register, sample, token...)
	if beat.Code != 200 {
		t.Fatal(beat.Body)
	}
	for _, a := range answered {
		c.hold(good, a, token...)
	}
	for op := range c.operations {
		method, path := strings.Fields(op)[0], strings.Fields(op)[1]
		path = strings.NewReplacer("{id}", "0-1-2", "{profile}", "heap", "{token}", "wrong-token").Replace(path)
		query := map[string]string{"/api/v1/streams/one": "?key=", "/api/v1/capture": "?stream=a", "/api/v1/backends/0-1-2/weight": "?weight=1", "/api/v1/resolve": "?streamid="}[path]
		body := ""
		if strings.HasPrefix(path, register) {
			body = sample
		}
		switch {
		case strings.HasSuffix(op, " 401"):
			c.hold(locked, asked{method, path + query, body, 401, false})
		case strings.HasSuffix(op, " 403"):
			foreign := everything(t, nil)
			foreign.host = "evil.example"
			c.hold(foreign, asked{method, path + query, body, 403, false})
		case strings.HasSuffix(op, " 503") && strings.HasPrefix(path, "/api/v1/backends/"):
			takenOver := everything(t, func(r *Deps) { r.Admit = func(context.Context) error { return errors.New("taken over") } })
			c.hold(takenOver, asked{method, path + query, body, 503, false}, token...)
		case strings.HasSuffix(op, " 503") && strings.HasPrefix(path, "/api/v1/s") && !strings.HasPrefix(path, register):
			away := everything(t, func(r *Deps) { r.Streams = &spoken{err: errors.New("stopped")} })
			c.hold(away, asked{method, path + query, "", 503, false}, token...)
		}
	}
	c.holdOdd(token)
	for op, seen := range c.operations {
		if !seen {
			t.Errorf("no answer to %s was seen", op)
		}
	}
}

// answered are requests to the API as it mostly is.
var answered = []asked{
	{"GET", "/live", "", 200, false},
	{"GET", "/ready", "", 200, false},
	{"GET", "/metrics", "", 200, false},
	{"GET", "/api/v1/openapi.yaml", "", 200, false},
	{"GET", "/api/v1/versions", "", 200, false},
	{"POST", "/api/v1/login", "", 200, false},
	{"DELETE", "/api/v1/login", "", 200, false},
	{"GET", "/api/v1/backends", "", 200, false},
	{"GET", "/api/v1/origins", "", 200, false},
	{"GET", "/api/v1/shards", "", 200, false},
	{"GET", "/api/v1/sources?level=subnet&sort=refused&limit=10", "", 200, false},
	{"GET", "/api/v1/sources", "", 200, false},
	{"GET", "/api/v1/sources?sort=name", "", 400, true},
	{"POST", "/api/v1/reload", "", 200, false},
	{"GET", "/api/v1/resolve?streamid=%23!::r=live/a,m=publish", "", 200, false},
	{"GET", "/api/v1/resolve?streamid=%23!::r=,m=publish", "", 400, false},
	{"GET", "/api/v1/resolve?streamid=%23!::r=live/nobody", "", 404, false},
	{"GET", "/api/v1/resolve", "", 400, true},
	{"GET", "/api/v1/streams", "", 200, false},
	{"GET", "/api/v1/streams?history=120&sort=loss&limit=10&offset=2&q=a&backend=b", "", 200, false},
	{"GET", "/api/v1/streams?q=nothing", "", 200, false},
	{"GET", "/api/v1/streams?sort=name", "", 400, true},
	{"GET", "/api/v1/streams?limit=1001", "", 400, true},
	{"GET", "/api/v1/streams/one?key=v/live/a", "", 200, false},
	{"GET", "/api/v1/streams/one?key=", "", 200, false},
	{"GET", "/api/v1/streams/one?key=no", "", 404, false},
	{"GET", "/api/v1/streams/one", "", 400, true},
	{"GET", "/api/v1/sessions?stream=v/live/a&role=player&state=closing&caller=192.0.2.1&limit=7", "", 200, false},
	{"GET", "/api/v1/sessions?cursor=end", "", 200, false},
	{"GET", "/api/v1/sessions?role=both", "", 400, true},
	{"GET", "/api/v1/sessions/0-1-2", "", 200, false},
	{"GET", "/api/v1/sessions/0-1-3", "", 404, false},
	{"DELETE", "/api/v1/sessions/0-1-2", "", 200, false},
	{"DELETE", "/api/v1/sessions/0-1-3", "", 404, false},
	{"GET", "/api/v1/events?kind=lost&kind=session-ended&stream=a&after=0", "", 200, false},
	{"GET", "/api/v1/events?kind=nothing", "", 400, true},
	{"GET", "/api/v1/capture?stream=a&seconds=1&payload=true&bytes=1MiB&rate=10", "", 200, false},
	{"GET", "/api/v1/capture?strem=a", "", 400, false},
	{"GET", "/api/v1/capture?session=0-9-9", "", 404, false},
	{"GET", "/api/v1/capture?stream=busy", "", 503, false},
	{"POST", register, sample, 200, false},
	{"POST", register + "/secret-token", sample, 200, false},
	{"POST", register + "/secret-token", "{}", 400, true},
	{"POST", register + "/secret-token", `{"server":"s","service":"v","pid":"1","srt":["1"],"x":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, false},
	{"POST", register, "{}", 400, true},
	{"POST", register, `{"server":"s","service":"v","pid":"1","srt":["1"],"x":"` + strings.Repeat("x", maxBodyBytes) + `"}`, 413, false},
	{"POST", "/api/v1/backends/static/drain", "", 200, false},
	{"POST", "/api/v1/backends/static/undrain", "", 200, false},
	{"POST", "/api/v1/backends/removed/drain", "", 200, false},
	{"POST", "/api/v1/backends/removed/undrain", "", 409, false},
	{"POST", "/api/v1/backends/none/drain", "", 404, false},
	{"POST", "/api/v1/backends/none/undrain", "", 404, false},
	{"POST", "/api/v1/backends/static/weight?weight=5", "", 200, false},
	{"POST", "/api/v1/backends/static/weight?weight=1001", "", 400, true},
	{"POST", "/api/v1/backends/none/weight?weight=5", "", 404, false},
	{"GET", "/api/v1/backends", "", 200, false}, // with an ordered weight
	{"GET", "/api/v1/cluster", "", 200, false},
	{"GET", "/api/v1/cluster/streams", "", 200, false},
	{"GET", "/api/v1/cluster/streams?key=live/a&q=a&relay=edge-1&backend=b&sort=sessions&limit=3&offset=1", "", 200, false},
	{"GET", "/api/v1/cluster/streams?sort=loss", "", 400, true},
	{"DELETE", "/api/v1/backends/static", "", 409, false},
	{"DELETE", "/api/v1/backends/none", "", 404, false},
	{"DELETE", "/api/v1/backends/" + sampleID, "", 200, false},
	{"GET", "/debug/pprof/cmdline", "", 200, false},
	{"GET", "/debug/pprof/symbol", "", 200, false},
	{"POST", "/debug/pprof/symbol", "0x1", 200, false},
}

// holdOdd holds the answers that need a relay in some odd state.
func (c *contract) holdOdd(token []string) {
	for err, status := range map[error]int{ErrReloading: 503, errors.New(`config: relay.yaml:1: key "grce": unknown key`): 422} {
		failing := everything(c.T, func(r *Deps) {
			r.Reload = func(context.Context) (answer.Reload, error) { return answer.Reload{}, err }
		})
		c.hold(failing, asked{"POST", "/api/v1/reload", "", status, false}, token...)
	}
	starting := everything(c.T, func(r *Deps) { r.State = &relay{reason: "starting"} })
	c.hold(starting, asked{"GET", "/ready", "", 503, false})

	alone := everything(c.T, func(r *Deps) { r.Cluster = nil })
	c.hold(alone, asked{"GET", "/api/v1/cluster", "", 409, false}, token...)
	c.hold(alone, asked{"GET", "/api/v1/cluster/streams", "", 409, false}, token...)
	busy := everything(c.T, nil)
	h := newHandler("v1", busy.deps, discard)
	for range maxLarge {
		h.largeSlots <- struct{}{}
	}
	busy.http = h.mux()
	c.hold(busy, asked{"GET", "/api/v1/cluster/streams", "", 503, false}, token...)

	none := everything(c.T, nil)
	none.Remove("static")
	c.hold(none, asked{"GET", "/api/v1/resolve?streamid=%23!::r=live/a", "", 503, false})

	full := everything(c.T, func(r *Deps) {
		for range maxFeedReaders {
			r.Feed.subscribe()
		}
	})
	c.hold(full, asked{"GET", "/api/v1/events", "", 503, false})

	many := everything(c.T, nil)
	many.Put(backend.Backend{ID: sampleID, Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("10.0.0.1:1")})
	c.hold(many, asked{"POST", register, sample, 409, false}, token...)
	c.hold(many, asked{"POST", register + "/secret-token", sample, 409, false})

	crowded := everything(c.T, func(r *Deps) { r.Registry = fullRegistry{r.Registry} })
	c.hold(crowded, asked{"POST", register, sample, 503, false}, token...)
	c.hold(crowded, asked{"POST", register + "/secret-token", sample, 503, false})

	set, err := rules.Parse("rules", []byte("access:\n  play:\n    deny: [0.0.0.0/0]\n"), streamid.Check)
	if err != nil {
		c.Fatal(err)
	}
	live := new(rules.Live)
	live.Publish(set)
	ruled := everything(c.T, func(r *Deps) { r.Rules = live })
	c.hold(ruled, asked{"GET", "/api/v1/resolve?streamid=%23!::r=secret/a", "", 403, false})
}

// fullRegistry has room for nobody.
type fullRegistry struct{ Registry }

func (fullRegistry) Register(backend.Registration, netip.AddrPort, time.Time, time.Duration) (backend.Arrival, error) {
	return backend.Arrival{}, backend.ErrFull
}

// hold makes a call and holds request and answer against the document.
func (c *contract) hold(d *fixture, a asked, header ...string) {
	c.Helper()
	if a.body != "" {
		header = append(slices.Clone(header), "Content-Type", map[bool]string{true: "application/json", false: "text/plain"}[strings.HasPrefix(a.body, "{")])
	}
	request := func() *http.Request {
		r := httptest.NewRequestWithContext(context.Background(), a.method, a.path, strings.NewReader(a.body))
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		return r
	}
	w := d.call(a.method, a.path, a.body, header...)
	if w.Code != a.status {
		c.Errorf("%s %s: status %d, want %d: %s", a.method, a.path, w.Code, a.status, w.Body)
	}
	if err := c.CheckRequest(request()); (err != nil) != a.wrong {
		c.Errorf("%s %s: request that is wrong: %v, the document says %v", a.method, a.path, a.wrong, err)
	}
	if err := c.CheckResponse(request(), w.Code, w.Result().Header, w.Body.Bytes()); err != nil {
		c.Errorf("%s %s %d: %v\n%.300s", a.method, a.path, w.Code, err, w.Body)
	}
	c.operations[a.method+" "+c.Path(request())+" "+strconv.Itoa(w.Code)] = true
}

// The document is strict: an answer with one field more, less or other does
// not pass, so that the test above can fail.
func TestOpenAPIIsStrict(t *testing.T) {
	c := openContract(t)
	good := everything(t, nil)
	body := good.call("GET", "/api/v1/sessions/0-1-2", "").Body.String()
	for name, change := range map[string][2]string{
		"none": {"", ""}, "one more": {`"shard":`, `"new":1,"shard":`}, "one less": {`"state":"closing",`, ""}, "renamed": {`"naks"`, `"nak"`},
		"other type": {`"naks":16`, `"naks":"16"`}, "other word": {`"publisher"`, `"sender"`}, "deep": {`"measured":true`, `"measured":null`},
	} {
		r := httptest.NewRequest("GET", "/api/v1/sessions/0-1-2", nil)
		changed := strings.Replace(body, change[0], change[1], 1)
		if err := c.CheckResponse(r, 200, http.Header{"Content-Type": {"application/json"}}, []byte(changed)); (err == nil) != (name == "none") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
