package client

import (
	"context"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"srtrelay/api/answer"
)

// serving is a relay's API that answers so.
func serving(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(answer)
	c := New(server.Listener.Addr().String(), "secret-token", nil)
	t.Cleanup(func() {
		c.Close()
		server.Close()
	})
	return c
}

func TestParseAddress(t *testing.T) {
	for text, want := range map[string]string{
		"12025": "127.0.0.1:12025", ":12025": "127.0.0.1:12025", "0.0.0.0:12025": "127.0.0.1:12025", "[::]:12025": "[::1]:12025",
		"relay.example:80": "relay.example:80", "http://10.0.0.1:80/": "10.0.0.1:80", "TCP://h:1": "h:1",
		"https://h:1/": "https://h:1", "HTTPS://:12025": "https://127.0.0.1:12025",
	} {
		if got, err := ParseAddress(text); got != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", text, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"x": "not host:port", "h:1/x": "not host:port", "h:0": "port is not within", "h:65536": "port is not within", "": "not host:port", "h:x": "port is not",
	} {
		if _, err := ParseAddress(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// Every call asks with the right method, path, query and token.
func TestCalls(t *testing.T) {
	key := ""
	var got string
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		got = r.Method + " " + r.RequestURI
		if r.Header.Get("Authorization") != "Bearer secret-token" {
			t.Errorf("%s without the token", got)
		}
		_, _ = io.WriteString(w, `{"code":0,"data":{}}`)
	})
	ctx := t.Context()
	for want, ask := range map[string]func() error{
		"GET /api/v1/shards": func() error { _, err := Shards().Do(ctx, c); return err },
		"GET /api/v1/sources?level=subnet&limit=7&sort=refused": func() error {
			_, err := Sources(answer.SourceQuery{Level: "subnet", Sort: "refused", Limit: 7}).Do(ctx, c)
			return err
		},
		"GET /api/v1/backends": func() error { _, err := Backends().Do(ctx, c); return err },
		"GET /api/v1/versions": func() error { _, err := Versions().Do(ctx, c); return err },
		"GET /api/v1/streams":  func() error { _, err := Streams(answer.StreamQuery{}).Do(ctx, c); return err },
		"GET /api/v1/streams?backend=b&history=120&limit=5&offset=7&q=%26x&sort=rtt": func() error {
			_, err := Streams(answer.StreamQuery{Backend: "b", Match: "&x", Sort: "rtt", Limit: 5, Offset: 7, History: 120}).Do(ctx, c)
			return err
		},
		"GET /api/v1/streams/one?key=v%2Flive%2Fx": func() error { _, err := Stream("v/live/x").Do(ctx, c); return err },
		"GET /api/v1/sessions?stream=":             func() error { _, err := Sessions(answer.SessionQuery{Stream: &key}).Do(ctx, c); return err },
		"GET /api/v1/sessions?backend=b&caller=%3A%3A1&cursor=c&limit=3&role=player&state=closing": func() error {
			_, err := Sessions(answer.SessionQuery{
				Backend: "b", Caller: netip.MustParseAddrPort("[::1]:0"), Role: "player", State: "closing", Limit: 3, Cursor: "c",
			}).Do(ctx, c)
			return err
		},
		"GET /api/v1/sessions?caller=10.0.0.1%3A5": func() error {
			_, err := Sessions(answer.SessionQuery{Caller: netip.MustParseAddrPort("10.0.0.1:5")}).Do(ctx, c)
			return err
		},
		"GET /api/v1/sessions/0-1-2":                     func() error { _, err := Session("0-1-2").Do(ctx, c); return err },
		"DELETE /api/v1/sessions/..%2Fx":                 func() error { _, err := CloseSession("../x").Do(ctx, c); return err },
		"POST /api/v1/backends/a:1/drain":                func() error { _, err := Drain("a:1", true).Do(ctx, c); return err },
		"POST /api/v1/backends/%5B::1%5D%2Fx%3F/undrain": func() error { _, err := Drain("[::1]/x?", false).Do(ctx, c); return err },
		"DELETE /api/v1/backends/a":                      func() error { _, err := Forget("a").Do(ctx, c); return err },
	} {
		if err := ask(); err != nil {
			t.Errorf("%s: %v", want, err)
		}
		if got != want {
			t.Errorf("asked %s\nwant  %s", got, want)
		}
	}
}

func TestAnswers(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/v1/shards":
			_, _ = io.WriteString(w, `{"code":0,"data":{"new":1,"shards":[{"shard":3,"sessions":7}]}}`)
		case "/api/v1/sessions/gone":
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":404,"error":"no such session: gone"}`)
		case "/api/v1/backends":
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"code":401,"error":"token: wrong"}`)
		case "/api/v1/versions":
			_, _ = io.WriteString(w, `[1]`)
		case "/api/v1/streams":
			w.Header().Set("Location", "http://192.0.2.1/")
			w.WriteHeader(http.StatusFound)
			_, _ = io.WriteString(w, `{}`)
		}
	})
	ctx := t.Context()
	list, err := Shards().Do(ctx, c)
	if err != nil || len(list.Shards) != 1 || list.Shards[0].Shard != 3 || list.Shards[0].Sessions != 7 {
		t.Errorf("%+v, %v", list, err)
	}
	raw, err := Shards().Raw(ctx, c)
	if want := "{\n  \"new\": 1,\n  \"shards\": [\n    {\n      \"shard\": 3,\n      \"sessions\": 7\n    }\n  ]\n}\n"; string(raw) != want || err != nil {
		t.Errorf("%s, %v", raw, err)
	}
	if _, err = Session("gone").Do(ctx, c); !IsNotFound(err) || err.Error() != c.API()+": no such session: gone" {
		t.Errorf("%v", err)
	}
	for what, c := range map[string]struct {
		err  error
		want string
	}{
		"token":     {second(Backends().Do(ctx, c)), "token: wrong; give --register-token"},
		"no object": {second(Versions().Do(ctx, c)), "is no srtrelay"},
		"redirect":  {second(Streams(answer.StreamQuery{}).Do(ctx, c)), "is no srtrelay"},
		"nobody":    {second(Shards().Do(ctx, New("127.0.0.1:1", "", nil))), "ask 127.0.0.1:1: dial tcp"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) || IsNotFound(c.err) {
			t.Errorf("%s: %v, want %s", what, c.err, c.want)
		}
	}
}

// With TLS the relay must prove who it is, before it gets the token.
func TestTLS(t *testing.T) {
	asked := 0
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		_, _ = io.WriteString(w, `{"code":0,"data":{}}`)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer server.Close()
	at := server.Listener.Addr().String()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	for _, c := range []struct {
		api   string
		roots *x509.CertPool
		want  string // part of the error
	}{
		{"https://" + at, roots, ""},
		{"https://" + at, nil, "ask " + at + ": tls: failed to verify certificate"},
		{"https://" + at, x509.NewCertPool(), "ask " + at + ": tls: failed to verify certificate"},
		{"https://localhost" + at[strings.LastIndexByte(at, ':'):], roots, "not localhost"},
		{at, roots, at + " speaks TLS: give --api https://" + at},
	} {
		asked = 0
		client := New(c.api, "secret-token", c.roots)
		_, err := Shards().Do(t.Context(), client)
		client.Close()
		switch {
		case c.want == "":
			if err != nil || asked != 1 {
				t.Errorf("%s: %v", c.api, err)
			}
		case err == nil || !strings.Contains(err.Error(), c.want) || asked != 0:
			t.Errorf("%s: %v, want %s", c.api, err, c.want)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// An answer without end, or one that never comes, must not hold a person up.
func TestAnswersAreBounded(t *testing.T) {
	c := serving(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/v1/shards" {
			<-r.Context().Done()
			return
		}
		block := []byte(strings.Repeat(" ", 1<<20))
		for range maxAnswer>>20 + 2 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	if _, err := Backends().Do(t.Context(), c); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Shards().Do(ctx, c); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}
