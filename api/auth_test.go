package api

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/backend"
)

// Every call that changes something, with and without the token.
func TestToken(t *testing.T) {
	const token = "s3cret+/="
	for _, c := range []struct {
		name   string
		query  string
		header string
		want   string // "" when it may pass
	}{
		{"none", "", "", "token: missing"},
		{"empty", "?token=", "", "token: missing"},
		{"wrong", "?token=S3cret%2B/=", "", "token: wrong"},
		{"a beginning", "?token=s3cret", "", "token: wrong"},
		{"longer", "", "Bearer " + token + "x", "token: wrong"},
		{"wrong header beside a right query", "?token=s3cret%2B%2F%3D", "Bearer x", "token: wrong"},
		{"basic", "", "Basic " + token, "token: Authorization is not"},
		{"bare", "", token, "token: Authorization is not"},
		{"header", "", "Bearer " + token, ""},
		{"header in small letters", "", "bearer  " + token, ""},
		{"query", "?token=s3cret%2B%2F%3D", "", ""},
	} {
		for _, call := range [][2]string{
			{"POST", register},
			{"POST", "/api/v1/backends/" + sampleID + "/drain"},
			{"POST", "/api/v1/backends/" + sampleID + "/undrain"},
			{"DELETE", "/api/v1/backends/" + sampleID},
			{"GET", "/debug/pprof/cmdline"},
		} {
			method, path := call[0], call[1]
			d := newFixture(t, token)
			if _, err := d.Register(backend.Registration{Server: "vid-abc1234", Service: "k3j9x2ab", PID: "4321"},
				netip.MustParseAddrPort("10.0.0.5:10081"), time.Now(), ttl); err != nil {
				t.Fatal(err)
			}
			before := d.Snapshot()
			var header []string
			if c.header != "" {
				header = []string{"Authorization", c.header}
			}
			w := d.call(method, path+c.query, sample, header...)
			if c.want == "" {
				if w.Code != 200 {
					t.Errorf("%s, %s %s: %d %s", c.name, method, path, w.Code, w.Body)
				}
				continue
			}
			if w.Code != 401 || !strings.Contains(w.Body.String(), c.want) || w.Header().Get("WWW-Authenticate") == "" || d.Snapshot() != before {
				t.Errorf("%s, %s %s: %d %s", c.name, method, path, w.Code, w.Body)
			}
			if strings.Contains(d.log.String(), "cret") {
				t.Errorf("the token is logged: %s", &d.log)
			}
		}
	}
	d := newFixture(t, token)
	for _, path := range []string{"/api/v1/backends", "/api/v1/versions", "/live", "/metrics"} {
		if w := d.call("GET", path, ""); w.Code != 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}

// A page of another site that an operator has open changes nothing.
func TestWebPagesAreRefused(t *testing.T) {
	d := newFixture(t, "")
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"}, {"Origin", "https://evil.example"},
	} {
		d.expect(403, `{"code":403,"error":"request of a web page from elsewhere"}`, d.call("POST", register, sample, header...))
	}
	if len(d.Snapshot().Backends) != 0 {
		t.Errorf("known %+v", d.Snapshot().Backends)
	}
}

// A thousand hostile registrations over real connections: no token, a wrong
// one, absurd addresses, bodies of 10 MB. Nothing changes, next to nothing of
// the bodies is read, and the log stays short.
func TestHostileRegistrations(t *testing.T) {
	const token, many = "correct horse", 1000
	d := newFixture(t, token)
	s := New("v1", d.deps, d.logger())
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	counting := &countingListener{Listener: s.listener}
	s.listener = counting
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	client := http.Client{Transport: &http.Transport{}}
	before := d.Snapshot()
	for i := range many {
		c := hostile[i%len(hostile)]
		body := io.Reader(strings.NewReader(c.body))
		if c.size > 0 {
			body = io.LimitReader(io.MultiReader(body, blanks{}), c.size)
		}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.Addr().String()+register+c.query, body)
		if err != nil {
			t.Fatal(err)
		}
		if !c.chunked {
			r.ContentLength = max(c.size, int64(len(c.body)))
		}
		answer, err := client.Do(r)
		if err != nil {
			if c.size == 0 {
				t.Fatalf("%+v: %v", c, err)
			}
			continue // cut off while it was still sending
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if answer.StatusCode != c.status {
			t.Fatalf("%+v: status %d", c, answer.StatusCode)
		}
	}
	client.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	if d.Snapshot() != before || len(d.LastSeen()) != 0 {
		t.Errorf("known %+v", d.Snapshot().Backends)
	}
	if n := strings.Count(d.log.String(), "\n"); n > many/20 {
		t.Errorf("%d lines of log", n)
	}
	// net/http takes in up to 256 KiB of what a handler did not want.
	sent := int64(many/len(hostile)*3) * 10 << 20
	if got := counting.read.Load(); got > sent/8 {
		t.Errorf("%d bytes were read of bodies of %d", got, sent)
	}
}

// hostile are registrations that must fail, and how.
var hostile = []struct {
	query   string
	body    string
	size    int64 // of the body, 0 for its text's
	chunked bool  // it does not say its length
	status  int
}{
	{"", sample, 0, false, 401},
	{"?token=guess", sample, 0, false, 401},
	{"", "{", 10 << 20, false, 401},
	{right, "{", 10 << 20, false, 413},
	{right, "{", 10 << 20, true, 413},
	{right, strings.Replace(sample, "udp://0.0.0.0:10081", "239.1.1.1:10081", 1), 0, false, 400},
	{right, strings.Replace(sample, "udp://0.0.0.0:10081", "255.255.255.255:10081", 1), 0, false, 400},
	{right, strings.Replace(sample, "udp://0.0.0.0:10081", "udp://0.0.0.0:0", 1), 0, false, 400},
	{right, strings.Replace(sample, "udp://0.0.0.0:10081", "[ff02::1]:10081", 1), 0, false, 400},
	{right, "\x00\xff", 0, false, 400},
}

const right = "?token=correct+horse"

// blanks is an endless body.
type blanks struct{}

// Read implements io.Reader.
func (blanks) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// countingListener counts the bytes that its connections read.
type countingListener struct {
	net.Listener
	read atomic.Int64
}

// Accept implements net.Listener.
func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &countingConn{c, &l.read}, err
}

type countingConn struct {
	net.Conn
	read *atomic.Int64
}

// Read implements net.Conn.
func (c *countingConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read.Add(int64(n))
	return n, err
}

// A page elsewhere can make a browser GET, though it cannot read the answer.
func TestPagesElsewhereStartNoCapture(t *testing.T) {
	d := everything(t, func(r *Deps) { r.Token = "" })
	d.from = "127.0.0.1:40000"
	for site, want := range map[string]int{"cross-site": 403, "same-site": 403, "same-origin": 200, "none": 200, "": 200} {
		if w := d.call("GET", "/api/v1/capture?stream=a", "", "Sec-Fetch-Site", site); w.Code != want {
			t.Errorf("%q: %d, want %d", site, w.Code, want)
		}
	}
}
