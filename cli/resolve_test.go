package cli

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// answering is a relay's API that gives one answer and keeps the question.
func answering(t *testing.T, status int, body string) (api string, asked *http.Request) {
	t.Helper()
	asked = new(http.Request)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = *r
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), asked
}

const resolveUsage = `Ask a running relay where a stream ID would go, and why. Nothing changes.

Usage:
  srtrelay resolve [flags] STREAMID

Flags:
  --api HOST:PORT         address or https:// URL; default 127.0.0.1:12025; env SRTRELAY_API, PROXY_SYSTEM_API
  --ca FILE               PEM file of the certificates to trust at https://; default the system's; env SRTRELAY_CA
  --register-token TOKEN  token for calls that change something; safer in SRTRELAY_REGISTER_TOKEN
  --read-token TOKEN      token for calls that only read, if the relay has one for them; safer in SRTRELAY_READ_TOKEN
  --caller IP             the caller's address, for rules that look at it; default this host's
  --port N                the port that the caller dials, for rules that look at it; default none
  --json                  print the relay's answer as it came

An empty STREAMID ('') stands for a caller that sends none.
Exit codes: 0 a backend would serve it, 1 the caller would be refused, 2 the relay could not be asked.
`

const found = `{"code":0,"data":{"streamid":"x","from":"sent","caller":"127.0.0.1","vhost":"__defaultVhost__","app":"live",` +
	`"stream":"x","mode":"request","key":"__defaultVhost__/live/x","backend":{"id":"s-v-1","address":"10.0.0.1:10080"},"why":"fewest sessions"}}`

func TestResolve(t *testing.T) {
	api, asked := answering(t, 200, found)
	for _, args := range [][]string{
		{"resolve", "--api", api, "#!::r=live/x&m=;+%"},
		{"resolve", "#!::r=live/x&m=;+%", "--api=http://" + api + "/"},
	} {
		s, stdout, stderr, _ := testShell(nil)
		code := s.Run(args)
		want := `stream ID  #!::r=live/x&m=;+%
vhost      __defaultVhost__
app        live
stream     x
mode       request
key        __defaultVhost__/live/x
backend    s-v-1
address    10.0.0.1:10080
why        fewest sessions
`
		if code != exitClean || stdout.String() != want || stderr.Len() > 0 {
			t.Errorf("%q: exit %d\n%s%s", args, code, stdout, stderr)
		}
		if got := asked.URL.Query().Get("streamid"); got != "#!::r=live/x&m=;+%" || asked.URL.Path != "/api/v1/resolve" {
			t.Errorf("asked for %q at %s", got, asked.URL.Path)
		}
	}
	s, stdout, _, _ := testShell(nil)
	if code := s.Run([]string{"resolve", "--json", "--caller=10.0.0.9", "--port", "20081", "--api=" + api, ""}); code != exitClean || stdout.String() != found {
		t.Errorf("exit %d, %s", code, stdout)
	}
	if got := asked.URL.RawQuery; got != "caller=10.0.0.9&port=20081&streamid=" {
		t.Errorf("asked %s", got)
	}
}

func TestResolveRefused(t *testing.T) {
	api, _ := answering(t, 503, `{"code":503,"error":"no backend available","data":{"streamid":"x","from":"default",
		"told":"a\u001b[2Jb","mode":"publish","key":"k","why":"no backend available","reject":2503}}`)
	s, stdout, stderr, _ := testShell(nil)
	s.LookupEnv = func(name string) (string, bool) { return api, name == "SRTRELAY_API" }
	code := s.Run([]string{"resolve", "x"})
	want := `stream ID  x
told       a\x1b[2Jb (by the rules: default)
mode       publish
key        k
refused    2503 down
why        no backend available
`
	if code != exitFailed || stdout.String() != want || stderr.Len() > 0 {
		t.Errorf("exit %d\n%s%s", code, stdout, stderr)
	}
}

func TestResolveCannotAsk(t *testing.T) {
	other, _ := answering(t, 200, "<html>")
	bad, _ := answering(t, 400, `{"code":400,"error":"caller: \"x\" is neither"}`)
	for _, c := range []struct {
		args []string
		want string // the beginning of the one line
	}{
		{nil, "resolve: takes one stream ID"},
		{[]string{"a", "b"}, "resolve: takes one stream ID"},
		{[]string{"--apl", "x"}, "resolve: --apl: unknown flag, did you mean \"--api\"?"},
		{[]string{"--api", "x", "a"}, `resolve: --api: "x": not host:port`},
		{[]string{"--api", "h:0", "a"}, `resolve: --api: "h:0": port is not within`},
		{[]string{"--api", "h:1/x", "a"}, `resolve: --api: "h:1/x": not host:port`},
		{[]string{"--api", "127.0.0.1:1", "a"}, "resolve: ask 127.0.0.1:1: dial tcp"},
		{[]string{"--api", other, "a"}, "resolve: " + other + " is no srtrelay"},
		{[]string{"--api", bad, "--caller=x", "a"}, "resolve: " + bad + `: caller: "x" is neither`},
	} {
		s, stdout, stderr, _ := testShell(nil)
		code := s.Run(append([]string{"resolve"}, c.args...))
		line := stderr.String()
		if code != exitCannotStart || !strings.HasPrefix(line, "srtrelay: "+c.want) || strings.Count(line, "\n") != 1 || stdout.Len() > 0 {
			t.Errorf("%q: exit %d, %s, want %s", c.args, code, line, c.want)
		}
	}
	s, stdout, _, _ := testShell(nil)
	if code := s.Run([]string{"resolve", "--help"}); code != exitClean || stdout.String() != resolveUsage {
		t.Errorf("help: exit %d, %s", code, stdout)
	}
}
