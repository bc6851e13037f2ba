package api

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"testing"

	"srtrelay/streamid"

	"srtrelay/backend"
	"srtrelay/streamid/rules"
)

// resolveAnswer is the answer to GET /api/v1/resolve.
type resolveAnswer struct {
	Code  int
	Error string
	Data  resolution
}

func (d *fixture) resolve(streamID string, more ...string) (*httptest.ResponseRecorder, resolveAnswer) {
	d.Helper()
	query := url.Values{"streamid": {streamID}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	w := d.call("GET", "/api/v1/resolve?"+query.Encode(), "")
	var a resolveAnswer
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
		d.Fatalf("%v in %s", err, w.Body)
	}
	return w, a
}

// open adds a backend that takes streams.
func (d *fixture) open() *fixture {
	d.Put(backend.Backend{ID: "b", Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("10.0.0.1:10080")})
	return d
}

func TestResolve(t *testing.T) {
	d := newFixture(t, "").open()
	before := d.Snapshot()
	w, _ := d.resolve("#!::h=a.com,r=live/x.flv?secret=k,m=publish")
	d.expect(200, `{"code":0,"data":{"streamid":"#!::h=a.com,r=live/x.flv?secret=k,m=publish","from":"sent","caller":"198.51.100.7","dialect":"srs",
		"vhost":"a.com","app":"live","stream":"x.flv","params":"vhost=a.com\u0026secret=k","mode":"publish","key":"a.com/live/x",
		"backend":{"id":"b","address":"10.0.0.1:10080"},"why":"the first"}}`, w)
	w, _ = d.resolve("live/nobody")
	d.expect(404, `{"code":404,"error":"no such stream","data":{"streamid":"live/nobody","from":"sent","caller":"198.51.100.7","dialect":"srs",
		"vhost":"__defaultVhost__","app":"live","stream":"nobody","mode":"request","key":"__defaultVhost__/live/nobody",
		"why":"no such stream","reject":2404}}`, w)
	w, _ = d.resolve("#!::r=live/x,m=neither")
	d.expect(400, `{"code":400,"error":"streamid: mode is neither publish nor request","data":{"streamid":"#!::r=live/x,m=neither",
		"from":"sent","caller":"198.51.100.7","dialect":"srs","why":"streamid: mode is neither publish nor request","reject":2400}}`, w)
	d.SetDraining("b", true)
	if w, a := d.resolve("live/x"); w.Code != 503 || a.Data.Reject != 2503 || a.Data.Backend != nil || a.Data.Key != "__defaultVhost__/live/x" {
		t.Errorf("draining: %s", w.Body)
	}
	d.SetDraining("b", false)
	if got := d.Snapshot().Backends[0]; got != before.Backends[0] {
		t.Errorf("changed: %+v", got)
	}
}

func TestResolveRefusesQueries(t *testing.T) {
	d := newFixture(t, "").open()
	for query, want := range map[string]string{
		"":                                     "streamid: missing",
		"streamid=%zz":                         "query: invalid URL escape",
		"streamid=a;b":                         "query: invalid semicolon",
		"streamid=x&caller=nobody":             "caller: \"nobody\" is neither",
		"streamid=x&port=0":                    "port: \"0\" is not within",
		"streamid=x&port=65536":                "port: \"65536\" is not within",
		"streamid=" + strings.Repeat("x", 513): "streamid: longer than 512 bytes",
	} {
		w := d.call("GET", "/api/v1/resolve?"+query, "")
		var a resolveAnswer
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != 400 || !strings.HasPrefix(a.Error, want) {
			t.Errorf("%s: %d %s, want %s", query, w.Code, w.Body, want)
		}
	}
	if w := d.call("POST", "/api/v1/resolve?streamid=x", ""); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

// The rules apply as they do to a caller from that address and on that port.
func TestResolveFollowsTheRules(t *testing.T) {
	d := newFixture(t, "").open()
	set, err := rules.Parse("rules.yaml",
		[]byte("default: '#!::r=live/fallback,m=publish,token=abc'\naccess:\n  play:\n    deny: [10.0.0.0/8]\n"), streamid.Check)
	if err != nil {
		t.Fatal(err)
	}
	live := new(rules.Live)
	live.Publish(set)
	d.deps.Rules = live
	d.http = newHandler("v1", d.deps, d.logger()).mux()
	if w, a := d.resolve(""); w.Code != 200 || a.Data.From != rules.OriginDefault || a.Data.Rewritten != "#!::r=live/fallback,m=publish,token=***" ||
		a.Data.Params != "token=***" || a.Data.Key != "__defaultVhost__/live/fallback" {
		t.Errorf("%s", w.Body)
	}
	for _, caller := range []string{"10.1.2.3", "10.1.2.3:5000", "::ffff:10.1.2.3"} {
		w, a := d.resolve("live/x", "caller", caller, "port", "20080")
		if w.Code != 403 || a.Data.Reject != 2403 || a.Data.Caller != "10.1.2.3" {
			t.Errorf("%s: %s", caller, w.Body)
		}
	}
}

// The table that the relay shares with other tools, asked as an operator would.
func TestResolveTable(t *testing.T) {
	table, err := os.ReadFile("../streamid/testdata/streamids.tsv")
	if err != nil {
		t.Fatal(err)
	}
	d := newFixture(t, "").open()
	rows := 0
	for line := range strings.Lines(string(table)) {
		cells := strings.Split(strings.TrimRight(line, "\r\n"), "\t")
		if len(cells) != 3 {
			continue // a comment: it has no tabs, but a stream ID may begin with # too
		}
		rows++
		text, key, mode := cells[0], cells[1], cells[2]
		if text == "(empty)" {
			text = ""
		}
		w, a := d.resolve(text)
		if mode == "reject" {
			if w.Code != 400 || a.Data.Reject != 2400 || a.Data.Key != "" || a.Data.Backend != nil {
				t.Errorf("%q: %d %s", text, w.Code, w.Body)
			}
			continue
		}
		if w.Code != 200 || a.Data.Key != key || a.Data.Mode != mode || a.Data.Backend == nil || a.Data.Backend.ID != "b" ||
			!strings.HasPrefix(key, a.Data.Vhost+"/"+a.Data.App+"/") {
			t.Errorf("%q: %d %s, want %s, %s", text, w.Code, w.Body, key, mode)
		}
	}
	if rows < 25 {
		t.Errorf("the table has %d rows", rows)
	}
}
