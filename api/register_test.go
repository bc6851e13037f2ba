package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/internal/srsfake"
)

const ttl = 30 * time.Second

// fixture is the API over a real registry, past the network.
type fixture struct {
	*testing.T
	*backend.Registry
	deps Deps
	log  bytes.Buffer
	http http.Handler
	// from is whom requests come from, host what they name this host.
	from, host string
	shared     answer.Sharing // of orders
}

func newFixture(t *testing.T, token string) *fixture {
	d := &fixture{T: t, Registry: backend.NewRegistry(), from: "198.51.100.7:40000", host: "127.0.0.1:12025"}
	d.deps = (&relay{}).deps()
	d.deps.Registry, d.deps.Backends, d.deps.Explainer, d.deps.Orders = d.Registry, d, d, d
	d.deps.TTL, d.deps.Token = ttl, token
	d.http = newHandler("v1", d.deps, d.logger()).mux()
	return d
}

func (d *fixture) logger() *slog.Logger { return slog.New(slog.NewTextHandler(&d.log, nil)) }

// Backends implements Backends.
func (d *fixture) Backends() []answer.Backend {
	return DescribeBackends(BackendStates{Snapshot: d.Snapshot(), Seen: d.LastSeen(), Now: time.Now()})
}

// Drain implements Orders.
func (d *fixture) Drain(_ context.Context, id backend.ID, draining bool) (known bool, shared answer.Sharing) {
	return d.SetDraining(id, draining), d.shared
}

// Weight implements Orders.
func (d *fixture) Weight(_ context.Context, id backend.ID, weight int) (known bool, shared answer.Sharing) {
	return d.OrderWeight(id, weight), d.shared
}

// Explain implements Explainer: the first backend that takes streams.
func (d *fixture) Explain(q backend.Query) (backend.Target, string, error) {
	if strings.HasSuffix(q.Key, "/nobody") {
		return backend.Target{}, "", backend.ErrNoStream
	}
	for _, b := range d.Snapshot().Backends {
		if b.Available(time.Now()) {
			return backend.Target{ID: b.ID, Addr: b.Addr}, "the first", nil
		}
	}
	return backend.Target{}, "", backend.ErrNone
}

func (d *fixture) call(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.RemoteAddr, r.Host = d.from, d.host
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.http.ServeHTTP(w, r)
	return w
}

// expect makes a call and checks its whole answer.
func (d *fixture) expect(status int, want string, w *httptest.ResponseRecorder) {
	d.Helper()
	if w.Code != status || compact(d.T, w.Body.String()) != compact(d.T, want) {
		d.Errorf("status %d, want %d\ngot  %swant %s", w.Code, status, w.Body, want)
	}
}

// sample is a heartbeat as SRS sends it.
var sample = srsfake.Server{
	DeviceID: "origin1", IP: "10.0.0.5", Server: "vid-abc1234", Service: "k3j9x2ab", PID: 4321, Port: 10081,
	Summaries: `{"ok":true,"self":{"mem_percent":0.1}}`,
}.Body()

const sampleID = "vid-abc1234-k3j9x2ab-4321"

var accepted = `{"code":0,"pid":"` + strconv.Itoa(os.Getpid()) + `"}`

const register = "/api/v1/srs/register"

func TestRegister(t *testing.T) {
	d := newFixture(t, "")
	for range 2 {
		d.expect(200, accepted, d.call("POST", register, sample))
	}
	b, ok := d.Snapshot().Find(sampleID)
	if !ok || len(d.Snapshot().Backends) != 1 || b.Addr != netip.MustParseAddrPort("10.0.0.5:10081") || b.Source != backend.SourceRegistered {
		t.Fatalf("%+v", d.Snapshot().Backends)
	}
	if g := b.Registration; g.Device != "origin1" || g.IP != "10.0.0.5" || g.RTMP[0] != "19351" || g.SRT[0] != "udp://0.0.0.0:10081" {
		t.Errorf("%+v", g)
	}
	if n := strings.Count(d.log.String(), "\n"); n != 1 || !strings.Contains(d.log.String(), "backend registered") {
		t.Errorf("%d lines: %s", n, &d.log)
	}
	again := strings.Replace(sample, "k3j9x2ab", "zzzzzzzz", 1)
	d.expect(200, accepted, d.call("POST", register, again))
	if !strings.Contains(d.log.String(), "replaces=["+sampleID+"]") || len(d.Snapshot().Backends) != 1 {
		t.Errorf("%s", &d.log)
	}
}

func TestRegisterForms(t *testing.T) {
	const head = `{"ip":"10.0.0.5","server":"s","service":"v","pid":"1","srt":`
	for body, want := range map[string]string{
		head + `["10080"]}`:                                             "10.0.0.5:10080",
		head + `[":10080"]}`:                                            "10.0.0.5:10080",
		head + `["udp://[::]:10080"]}`:                                  "10.0.0.5:10080",
		head + `["10080"],"rtmp":null}`:                                 "10.0.0.5:10080",
		head + `["tcp://1:2","srt://:10080"]}`:                          "10.0.0.5:10080",
		head + `["10.0.0.9:1"],"x":{"y":[{}]}}`:                         "10.0.0.9:1",
		strings.Replace(head, "10.0.0.5", "0.0.0.0", 1) + `["10080"]}`:  "198.51.100.7:10080",
		strings.Replace(head, `"ip":"10.0.0.5",`, "", 1) + `["10080"]}`: "198.51.100.7:10080",
	} {
		d := newFixture(t, "")
		d.expect(200, accepted, d.call("POST", register, body, "Content-Type", "text/plain"))
		if b, ok := d.Snapshot().Find("s-v-1"); !ok || b.Addr.String() != want {
			t.Errorf("%s: %v, want %s", body, b.Addr, want)
		}
	}
}

func TestRegisterRefuses(t *testing.T) {
	d := newFixture(t, "")
	d.SetOwnAddrs(netip.MustParseAddrPort("10.0.0.7:20080"))
	d.Put(backend.Backend{ID: "a-b-c:1", Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("10.0.0.1:1")})
	before := d.Snapshot()
	with := func(old, replacement string) string { return strings.Replace(sample, old, replacement, 1) }
	for _, c := range []struct {
		body   string
		status int
		want   string // what the error begins with
	}{
		{"", 400, "body: not a heartbeat in JSON: unexpected end"},
		{"null", 400, "server: missing"},
		{"[]", 400, "body: not a heartbeat in JSON"},
		{sample + "{}", 400, "body: not a heartbeat in JSON"},
		{with(`"vid-abc1234"`, `7`), 400, "server: is a number, want string"},
		{with(`"4321"`, `4321`), 400, "pid: is a number, want string"},
		{with(`["udp://0.0.0.0:10081"]`, `"10081"`), 400, "srt: is a string, want []string"},
		{with(`["udp://0.0.0.0:10081"]`, `[10081]`), 400, "srt: is a number, want string"},
		{with(`"vid-abc1234"`, `""`), 400, "server: missing"},
		{with(`"vid-abc1234"`, `"a/../b"`), 400, `server: "a/../b": letters`},
		{with(`"4321"`, `"`+strings.Repeat("4", 200)+`"`), 400, "pid: longer than 128 bytes"},
		{with(`"origin1"`, `"\u001b[2J"`), 400, "device_id: holds characters that are not printable"},
		{with(`"srt"`, `"Srt_"`), 400, "srt: missing"},
		{with(`["udp://0.0.0.0:10081"]`, `[]`), 400, "srt: missing"},
		{with(`udp://0.0.0.0:10081`, `udp://0.0.0.0:0`), 400, `srt: "udp://0.0.0.0:0": port is not within`},
		{with(`udp://0.0.0.0:10081`, `239.1.1.1:10081`), 400, `srt: "239.1.1.1:10081": host is not an address that`},
		{with(`udp://0.0.0.0:10081`, `127.0.0.1:10081`), 400, `srt: "127.0.0.1:10081": host is not an address that`},
		{with(`udp://0.0.0.0:10081`, `10.0.0.7:20080`), 400, "srt: 10.0.0.7:20080 is the relay itself"},
		{`{"server":"a","service":"b","pid":"c:1","srt":["10.0.0.2:1"]}`, 409, "server: is the name of a static backend"},
		{with(`"summaries"`, `"x":"`+strings.Repeat("x", maxBodyBytes)+`","summaries"`), 413, "body: http: request body too large"},
		{strings.Repeat("[", maxBodyBytes), 400, "body: not a heartbeat in JSON"},
	} {
		w := d.call("POST", register, c.body)
		var got reply
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.status || got.Code != c.status || !strings.HasPrefix(got.Error, c.want) {
			t.Errorf("%.100s: %d %s, want %d %s", c.body, w.Code, w.Body, c.status, c.want)
		}
	}
	if d.Snapshot() != before {
		t.Errorf("known %+v", d.Snapshot().Backends)
	}
	if n := strings.Count(d.log.String(), "\n"); n != 1 || !strings.Contains(d.log.String(), "call refused") {
		t.Errorf("%d lines for a burst of refusals: %s", n, &d.log)
	}
}

func TestDrainAndForget(t *testing.T) {
	d := newFixture(t, "")
	d.Put(backend.Backend{ID: "[fd00::1]:10080", Source: backend.SourceStatic, Addr: netip.MustParseAddrPort("[fd00::1]:10080")})
	d.Put(backend.Backend{ID: "there", Source: backend.SourceShared})
	d.call("POST", register, sample)
	draining := func(id backend.ID, want bool) {
		t.Helper()
		if b, ok := d.Snapshot().Find(id); !ok || b.Draining != want {
			t.Errorf("%s: %+v, want draining %v", id, b, want)
		}
	}
	for path, id := range map[string]backend.ID{
		"/api/v1/backends/" + sampleID:               sampleID,
		"/api/v1/backends/[fd00::1]:10080":           "[fd00::1]:10080",
		"/api/v1/backends/%5Bfd00%3A%3A1%5D%3A10080": "[fd00::1]:10080",
	} {
		d.expect(200, `{"code":0,"data":{"id":"`+string(id)+`","draining":true}}`, d.call("POST", path+"/drain", ""))
		draining(id, true)
		d.expect(200, `{"code":0,"data":{"id":"`+string(id)+`","draining":false}}`, d.call("POST", path+"/undrain", ""))
		draining(id, false)
	}
	d.call("POST", "/api/v1/backends/"+sampleID+"/drain", "")
	d.call("POST", register, sample)
	draining(sampleID, true)
	for _, c := range []struct {
		method, path string
		status       int
		want         string
	}{
		{"POST", "unknown/drain", 404, `{"code":404,"error":"no such backend: unknown"}`},
		{"DELETE", "unknown", 404, `{"code":404,"error":"no such backend: unknown"}`},
		{"DELETE", "[fd00::1]:10080", 409, `{"code":409,"error":"backend [fd00::1]:10080 is in the configuration and would come back: drain it"}`},
		{"DELETE", "there", 409, `{"code":409,"error":"backend there is in the shared state and would come back: drain it"}`},
		{"DELETE", sampleID, 200, `{"code":0}`},
		{"DELETE", sampleID, 404, `{"code":404,"error":"no such backend: ` + sampleID + `"}`},
		{"GET", sampleID + "/drain", 405, `{"code":405,"error":"method not allowed, use POST"}`},
		{"GET", sampleID, 405, `{"code":405,"error":"method not allowed, use DELETE"}`},
	} {
		d.expect(c.status, c.want, d.call(c.method, "/api/v1/backends/"+c.path, ""))
	}
	if len(d.Snapshot().Backends) != 2 {
		t.Errorf("known %+v", d.Snapshot().Backends)
	}
}

func TestBackendsShowRegistrations(t *testing.T) {
	d := newFixture(t, "")
	d.call("POST", register, sample)
	d.MarkAlive(sampleID, 2, time.Now())
	var got struct{ Data answer.BackendList }
	if err := json.Unmarshal(d.call("GET", "/api/v1/backends", "").Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	e := got.Data.Backends[0]
	if !e.Alive || e.Late || e.Source != "registered" || e.Server != "vid-abc1234" || e.Service != "k3j9x2ab" || e.PID != "4321" ||
		e.DeviceID != "origin1" || e.Weight != 1 || e.KeyLength != 16 || e.RegisteredAt.IsZero() || e.UpdatedAt.IsZero() || e.ExpiresAt.IsZero() {
		t.Errorf("%+v", e)
	}
	// Alive by its answers, but nobody has heard of it.
	late := DescribeBackends(BackendStates{Snapshot: d.Snapshot(), Now: time.Now().Add(2 * ttl)})[0]
	if late.Alive || !late.Late {
		t.Errorf("%+v", late)
	}
}

func TestRefusalsNameTheField(t *testing.T) {
	for err, want := range map[error]string{
		backend.ErrFull: "503 server: too many", backend.ErrReplaced: "409 service: replaced", errors.New("ip: x"): "400 ip: x",
	} {
		if status, why := registerError(err, netip.AddrPort{}); !strings.HasPrefix(strconv.Itoa(status)+" "+why, want) {
			t.Errorf("%d %s, want %s", status, why, want)
		}
	}
}

// Whatever is posted: a backend with a usable address, or one error that names
// a field.
func FuzzRegister(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"server":"s","service":"v","pid":"1","srt":["10080"]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := newFixture(t, "")
		w := d.call("POST", register, string(body))
		var got reply
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
			t.Fatalf("%v in %s", err, w.Body)
		}
		all := d.Snapshot().Backends
		if w.Code == 200 {
			if len(all) != 1 || !all[0].Addr.IsValid() || all[0].Addr.Port() == 0 || all[0].Addr.Addr().IsUnspecified() ||
				all[0].Addr.Addr().IsMulticast() || all[0].Registration.Check() != nil {
				t.Fatalf("%q: %+v", body, all)
			}
			return
		}
		field, _, _ := strings.Cut(got.Error, ":")
		if got.Code != w.Code || len(all) != 0 || !strings.Contains(" body ip device_id server service pid rtmp http api srt rtc ", " "+field+" ") {
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
	})
}

// A change while another process takes over was made here, where it was lost, and answered with
// success.
func TestNothingChangesInAFrozenProcess(t *testing.T) {
	d := newFixture(t, "")
	d.Put(backend.Backend{ID: "a", Source: backend.SourceRegistered})
	d.deps.Admit = func(context.Context) error { return errors.New("another process has taken over") }
	d.http = newHandler("v1", d.deps, d.logger()).mux()
	before := d.Snapshot()
	for _, call := range []string{"POST backends/a/drain", "POST backends/a/undrain", "POST backends/a/weight?weight=2", "DELETE backends/a", "POST srs/register"} {
		method, path, _ := strings.Cut(call, " ")
		if w := d.call(method, "/api/v1/"+path, "{}"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "another process has taken over: repeat the call") {
			t.Errorf("%s: %d %s", call, w.Code, w.Body)
		}
	}
	if d.Snapshot() != before {
		t.Error("something has changed")
	}
}
