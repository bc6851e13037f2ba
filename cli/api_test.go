package cli

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// fakeRelay is a relay's API with the answers that package terminal is tested
// with, and the questions it was asked.
type fakeRelay struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
	token string // what changing calls need
}

func newFakeRelay(t *testing.T) *fakeRelay {
	t.Helper()
	r := &fakeRelay{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.answer))
	t.Cleanup(r.Close)
	return r
}

func (r *fakeRelay) answer(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, q.Method+" "+q.RequestURI)
	r.mu.Unlock()
	refuse := func(code int, text string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"code":%d,"error":%q}`, code, text)
	}
	path := strings.TrimPrefix(q.URL.Path, "/api/v1/")
	switch {
	case (q.Method != http.MethodGet || path == "capture") && r.token != "" && q.Header.Get("Authorization") != "Bearer "+r.token:
		refuse(http.StatusUnauthorized, "token: missing")
	case strings.Contains(path, "gone") || q.URL.Query().Get("key") == "gone":
		refuse(http.StatusNotFound, "no such thing: gone")
	case q.Method != http.MethodGet:
		_, _ = io.WriteString(w, `{"code":0}`)
	case path == "events":
		w.Header().Set("Content-Type", "text/event-stream")
		if q.URL.Query().Get("follow") == "false" {
			w.Header().Set("Events-Kept-Since", "2026-01-02T03:04:00Z")
			if q.URL.Query().Get("stream") == "quiet" {
				return
			}
		}
		_, _ = io.WriteString(w, "id: 1\ndata: {\"id\":1,\"time\":\"2026-01-02T03:04:05Z\",\"kind\":\"backend-gone\",\"backend\":\"a\\nb\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		if q.URL.Query().Get("follow") != "false" {
			<-q.Context().Done()
		}
	case path == "capture" && q.URL.Query().Get("stream") == "empty":
		w.Header().Set("Content-Type", "application/x-pcapng")
		_, _ = w.Write(emptyCapture)
	case path == "capture":
		w.Header().Set("Content-Type", "application/x-pcapng")
		_, _ = w.Write(captured)
		_ = http.NewResponseController(w).Flush()
		if q.URL.Query().Get("seconds") == "" {
			_, _ = w.Write(captured[:20]) // half a block
			_ = http.NewResponseController(w).Flush()
			<-q.Context().Done()
		}
	default:
		name := map[string]string{"streams/one": "stream", "sessions/0-17-42": "session"}[path]
		if name == "" {
			name = path
		}
		if path == "sessions" && q.URL.Query().Get("cursor") == "abc" {
			_, _ = io.WriteString(w, `{"code":0,"data":{"sessions":[{"id":"1-1-1","new_field":1}]}}`)
			return
		}
		text, err := os.ReadFile(filepath.Join("term", "testdata", "api", name+".json"))
		if err != nil {
			refuse(http.StatusNotFound, "no such path")
			return
		}
		_, _ = w.Write(text)
	}
}

// emptyCapture is a pcapng file of a header and nothing else, captured one with an
// empty packet.
var (
	emptyCapture = block(0x0A0D0D0A, 0x1A2B3C4D, 0, 0, 0)
	captured     = append(slices.Clone(emptyCapture), block(3, 0)...)
)

// block is a block of a pcapng file.
func block(kind uint32, words ...uint32) []byte {
	length := uint32(4 * (len(words) + 3))
	var b []byte
	for _, word := range slices.Concat([]uint32{kind, length}, words, []uint32{length}) {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	return b
}

// run runs a command line against the relay.
func (r *fakeRelay) run(args ...string) (code int, stdout, stderr string) {
	s, out, complaints, _ := testShell(nil)
	s.LookupEnv = func(name string) (string, bool) { return r.Listener.Addr().String(), name == "SRTRELAY_API" }
	code = s.Run(args)
	return code, out.String(), complaints.String()
}

// kept reads what package terminal shows for an answer.
func kept(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("term", "testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// clusterNotes are what is not as it seems in the list of all relays' streams.
const clusterNotes = "redis is away since 2026-01-02T03:04:00Z; this is as it was at 2026-01-02T03:03:59Z\n" +
	"2 of 180 streams shown; --limit 0 shows all\n12 more streams are not listed by their relays\n"

func TestAskingCommands(t *testing.T) {
	r := newFakeRelay(t)
	for _, c := range []struct {
		args   string
		asked  string
		stdout string // part of it
		stderr string // all of it
	}{
		{"shards --wide", "GET /api/v1/shards", kept(t, "shards"), ""},
		{"backends", "GET /api/v1/backends", "origin-d  late             0", ""},
		{"backends origin.test:10080", "GET /api/v1/backends", "origin-d late          0", ""},
		{"backends origin-b", "GET /api/v1/backends", "carries      600 sessions of 311 streams, 999 kbit/s", ""},
		{"streams --limit 4", "GET /api/v1/streams?limit=4", "\nlive/football                  5.12 Mbit/s  205 Mbit/s 4.83 %", "4 of 1011 streams shown; --limit 0 shows all\n"},
		{
			"streams --exact --sort=rtt --match foot --backend b --limit 4", "GET /api/v1/streams?backend=b&limit=4&q=foot&sort=rtt",
			"204,938,271 bit/s", "4 of 1011 streams shown; --limit 0 shows all\n",
		},
		{"streams v/live/x", "GET /api/v1/streams/one?key=v%2Flive%2Fx", "sessions     41: 1 publisher, 40 players", ""},
		{"sessions 0-17-42", "GET /api/v1/sessions/0-17-42", "lost before the relay            24,382         487", ""},
		{"sessions --wide --limit 2 --caller [::1] --role player", "GET /api/v1/sessions?caller=%3A%3A1&limit=2&role=player", "closing (kicked)", "2 sessions shown; --limit 0 shows all\n"},
		{"sessions --stream= --limit 0", "GET /api/v1/sessions?cursor=abc&limit=1000&stream=", "1-1-1", ""},
		{"sessions close 1 2", "DELETE /api/v1/sessions/2", "session 1 closed\nsession 2 closed\n", ""},
		{"backends drain a", "POST /api/v1/backends/a/drain", "backend a drained\n", ""},
		{"backends undrain a", "POST /api/v1/backends/a/undrain", "backend a gets new streams again\n", ""},
		{"backends weight a 7", "POST /api/v1/backends/a/weight?weight=7", "backend a has weight 7\n", ""},
		{"backends weight a default", "POST /api/v1/backends/a/weight?weight=0", "backend a has its configured weight\n", ""},
		{"relays --wide", "GET /api/v1/cluster", kept(t, "relays"), ""},
		{"streams --cluster --limit 2 --wide --exact", "GET /api/v1/cluster/streams?limit=2", "edge-3  10.0.0.11:10080  away", clusterNotes},
		{
			"streams --cluster --limit 2 --relay edge-1 --backend b --match m --sort sessions --exact",
			"GET /api/v1/cluster/streams?backend=b&limit=2&q=m&relay=edge-1&sort=sessions", "edge-1", clusterNotes,
		},
		{"streams --cluster --exact live/match", "GET /api/v1/cluster/streams?key=live%2Fmatch", "sessions  16: 1 publisher, 15 players", clusterNotes[:strings.Index(clusterNotes, "\n")+1]},
		{"backends forget a", "DELETE /api/v1/backends/a", "backend a forgotten\n", ""},
	} {
		code, stdout, stderr := r.run(strings.Fields(c.args)...)
		if code != exitClean || !strings.Contains(stdout, c.stdout) || stderr != c.stderr {
			t.Errorf("%s: exit %d\n%s%s", c.args, code, stdout, stderr)
		}
		if got := r.asked[len(r.asked)-1]; got != c.asked {
			t.Errorf("%s: asked %s", c.args, got)
		}
	}
}

// --json prints what the API has in its data, with fields this version does
// not know, and lists of several pages as one.
func TestJSON(t *testing.T) {
	r := newFakeRelay(t)
	for args, name := range map[string]string{
		"shards --json": "shards", "backends --json": "backends", "streams --limit 4 --json": "streams", "streams --json x": "stream",
		"relays --json": "cluster", "streams --cluster --json --limit 2": "cluster/streams",
		"sessions --json --limit 2": "sessions", "sessions --json 0-17-42": "session",
	} {
		code, stdout, _ := r.run(strings.Fields(args)...)
		var frame struct{ Data any }
		var got any
		text, err := os.ReadFile(filepath.Join("term", "testdata", "api", name+".json"))
		if err == nil {
			err = json.Unmarshal(text, &frame)
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(stdout), &got); err != nil || code != exitClean || !reflect.DeepEqual(got, frame.Data) {
			t.Errorf("%s: exit %d, %v\n%s", args, code, err, stdout)
		}
	}
	_, stdout, _ := r.run("sessions", "--json", "--limit", "0")
	if strings.Count(stdout, `"id": "`) != 5 || !strings.Contains(stdout, `"new_field": 1`) || strings.Contains(stdout, "cursor") {
		t.Errorf("two pages:\n%s", stdout)
	}
	if _, stdout, _ := r.run("backends", "origin-b", "--json"); !strings.Contains(stdout, `"bitrate_bps": 999499.5`) {
		t.Errorf("one backend:\n%s", stdout)
	}
}

func TestAskingFails(t *testing.T) {
	r := newFakeRelay(t)
	api := r.Listener.Addr().String()
	for _, c := range []struct {
		args string
		code int
		want string // the beginning of the one line
	}{
		{"shards --api 127.0.0.1:1", exitFailed, "shards: ask 127.0.0.1:1: dial tcp"},
		{"top --api 127.0.0.1:1", exitCannotStart, "top: standard input and output must be a terminal"},
		{"events --api 127.0.0.1:1", exitFailed, "events: ask 127.0.0.1:1: dial tcp"},
		{"sessions gone", exitFailed, "sessions: " + api + ": no such thing: gone"},
		{"sessions close gone", exitFailed, "sessions close: " + api + ": no such thing: gone"},
		{"backends gone", exitFailed, "backends: no such backend: gone"},
		{"streams gone", exitFailed, "streams: " + api + ": no such thing"},
		{"shards x", exitCannotStart, "shards takes no arguments"},
		{"streams a b", exitCannotStart, "streams: takes at most one KEY"},
		{"sessions close", exitCannotStart, "sessions close: takes the ID of a session"},
		{"sessions --caller x", exitCannotStart, `sessions: --caller: "x": neither an IP address`},
		{"sessions --limit -1", exitCannotStart, "sessions: --limit: -1: below 0"},
		{"sessions --limit x", exitCannotStart, `sessions: --limit: "x": `},
		{"sessions --limit", exitCannotStart, "sessions: --limit: value missing"},
		{"streams --sort x", exitCannotStart, `streams: --sort: "x": not one of bitrate, rtt`},
		{"streams --relay x", exitCannotStart, "streams: --relay: needs --cluster"},
		{"streams --cluster --sort loss", exitCannotStart, `streams: --sort: "loss": not one of bitrate, sessions, key`},
		{"relays x", exitCannotStart, "relays takes no arguments"},
		{"backends weight a", exitCannotStart, "backends weight: takes the ID of a backend and a weight"},
		{"backends weight a 0", exitCannotStart, `backends weight: "0": neither a weight from 1 to 1000 nor default`},
		{"streams -x", exitCannotStart, "streams: -x: unknown flag"},
		{"streams --bakcend=b", exitCannotStart, `streams: --bakcend: unknown flag, did you mean "--backend"?`},
		{"backends --api=x", exitCannotStart, `backends: --api: "x": not host:port`},
		{"capture -o x", exitCannotStart, "capture: --stream: missing"},
		{"capture --stream x", exitCannotStart, "capture: --output: missing"},
		{"capture --stream x -o - --bytes 5MB", exitCannotStart, `capture: --bytes: "5MB": not a size`},
		{"capture --stream x -o - --time 5", exitCannotStart, `capture: --time: "5": `},
		{"capture --session gone -o /nowhere/x", exitFailed, "capture: make the file: open /nowhere/x"},
		{"completion tcsh", exitCannotStart, `completion: no such shell: "tcsh"`},
		{"help nonsense", exitCannotStart, `help: no such command: "nonsense"`},
	} {
		code, stdout, stderr := r.run(strings.Fields(c.args)...)
		if code != c.code || !strings.HasPrefix(stderr, "srtrelay: "+c.want) || strings.Count(stderr, "\n") != 1 || stdout != "" {
			t.Errorf("%s: exit %d\n%s%swant %s", c.args, code, stdout, stderr, c.want)
		}
	}
}

func TestToken(t *testing.T) {
	r := newFakeRelay(t)
	r.token = "open sesame"
	code, _, stderr := r.run("sessions", "close", "1")
	if code != exitFailed || !strings.Contains(stderr, "token: missing; give --register-token") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	if code, _, stderr := r.run("sessions", "close", "1", "--register-token", r.token); code != exitClean {
		t.Errorf("exit %d, %s", code, stderr)
	}
	s, _, _, _ := testShell(nil)
	s.LookupEnv = func(name string) (string, bool) {
		text, ok := map[string]string{"PROXY_SYSTEM_API": r.Listener.Addr().String(), "SRTRELAY_REGISTER_TOKEN": r.token}[name]
		return text, ok
	}
	if code := s.Run([]string{"backends", "drain", "a"}); code != exitClean {
		t.Errorf("token and address of the environment: exit %d", code)
	}
	// A command that only reads takes either; the one that allows more goes first.
	for _, args := range []string{"--read-token R", "--register-token R", "--read-token wrong --register-token R"} {
		r.token = "R"
		if code, _, stderr := r.run(strings.Fields("capture --stream x -o - --time 1s " + args)...); code != exitClean {
			t.Errorf("%s: exit %d, %s", args, code, stderr)
		}
	}
}

// interrupting is a standard stream that interrupts the process, as Ctrl-C
// does, when more than a number of bytes has been written.
type interrupting struct {
	text    bytes.Buffer
	after   int
	signals chan<- os.Signal
}

func (w *interrupting) Write(p []byte) (int, error) {
	n, err := w.text.Write(p)
	if w.text.Len() <= w.after {
		return n, err
	}
	select {
	case w.signals <- syscall.SIGINT:
	default:
	}
	return n, err
}

func TestEventsUntilInterrupted(t *testing.T) {
	r := newFakeRelay(t)
	for _, c := range []struct{ flag, want string }{
		{"--exact", "2026-01-02T03:04:05Z  backend-gone        backend=a\\x0ab\n"},
		{"--json", `{"id":1,"time":"2026-01-02T03:04:05Z","kind":"backend-gone","backend":"a\nb"}` + "\n"},
	} {
		s, _, stderr, signals := testShell(nil)
		out := &interrupting{signals: signals}
		s.Stdout = out
		code := s.Run([]string{"events", c.flag, "--kind", "backend-gone,lost", "--kind=session-begun", "--stream=x", "--api", r.Listener.Addr().String()})
		if code != exitClean || out.text.String() != c.want || stderr.Len() > 0 {
			t.Errorf("exit %d\n%s%s", code, out.text.String(), stderr)
		}
		if got := r.asked[len(r.asked)-1]; got != "GET /api/v1/events?kind=backend-gone&kind=lost&kind=session-begun&stream=x" {
			t.Errorf("asked %s", got)
		}
	}
}

// Past events end with the last one, and the command says how far back the relay knows.
func TestPastEvents(t *testing.T) {
	r := newFakeRelay(t)
	const event = "2026-01-02T03:04:05Z  backend-gone        backend=a\\x0ab\n"
	older := "the relay has no events from before " + time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC).Local().Format(time.DateTime) + "\n"
	for _, c := range []struct {
		args           []string
		code           int
		stdout, stderr string
		asked          string
	}{
		{[]string{"--since", "10m"}, exitClean, event, "", "?follow=false&since=10m"},
		{[]string{"--since", "2026-01-02T03:03:59Z"}, exitClean, event, older, "?follow=false&since=2026-01-02T03%3A03%3A59Z"},
		{[]string{"--since=2026-01-02T04:04:05+01:00"}, exitClean, event, "", "?follow=false&since=2026-01-02T03%3A04%3A05Z"},
		{[]string{"--since", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC).Local().Format(time.DateTime)}, exitClean, event, "", "?follow=false&since=2026-01-02T03%3A04%3A05Z"},
		{nil, exitClean, event, older, "?follow=false"},
		{[]string{"--stream=quiet"}, exitFailed, "", older + "srtrelay: events: no event of stream quiet\n", "?follow=false&stream=quiet"},
		{[]string{"--since=soon"}, exitCannotStart, "", `srtrelay: events: --since: "soon": not like 10m, 2006-01-02T15:04:05Z or "2006-01-02 15:04:05"` + "\n", ""},
	} {
		r.asked = nil
		code, stdout, stderr := r.run(append([]string{"events", "--no-follow", "--exact"}, c.args...)...)
		if code != c.code || stdout != c.stdout || stderr != c.stderr {
			t.Errorf("%q: exit %d\n%s%swant exit %d\n%s%s", c.args, code, stdout, stderr, c.code, c.stdout, c.stderr)
		}
		if want := "GET /api/v1/events" + c.asked; c.asked != "" && (len(r.asked) != 1 || r.asked[0] != want) {
			t.Errorf("%q: asked %q, want %s", c.args, r.asked, want)
		}
	}
}

// Ctrl-C leaves a whole file behind, though the relay had sent half a block.
func TestCaptureUntilInterrupted(t *testing.T) {
	r := newFakeRelay(t)
	s, _, stderr, signals := testShell(nil)
	out := &interrupting{signals: signals, after: len(emptyCapture)}
	s.Stdout = out
	code := s.Run([]string{"capture", "--session", "1", "--api", r.Listener.Addr().String(), "-o", "-"})
	if code != exitClean || !bytes.Equal(out.text.Bytes(), captured) || stderr.String() != "1 packets, 44 bytes written\n" {
		t.Errorf("exit %d, %d bytes\n%s", code, out.text.Len(), stderr)
	}
	file := filepath.Join(t.TempDir(), "x.pcapng")
	code, _, said := r.run("capture", "--stream=", "--session=1", "--wait", "--time", "90s", "--bytes", "2MiB", "--rate=5", "--payload", "--output="+file)
	if got, err := os.ReadFile(file); code != exitClean || err != nil || !bytes.Equal(got, captured) || said != "1 packets, 44 bytes written to "+file+"\n" {
		t.Errorf("exit %d, %v, %s", code, err, said)
	}
	if got := r.asked[len(r.asked)-1]; got != "GET /api/v1/capture?bytes=2097152&payload=true&rate=5&seconds=90&session=1&stream=&wait=true" {
		t.Errorf("asked %s", got)
	}
	// An empty file is no success.
	code, _, said = r.run("capture", "--stream=empty", "--output="+file)
	if want := "0 packets, 28 bytes written to " + file + "\nsrtrelay: capture: no datagram came: the file is empty\n"; code != exitFailed || said != want {
		t.Errorf("exit %d, %s", code, said)
	}
	if code, _, _ := r.run("capture", "--stream=x", "--time=90s", "-o", file); code != exitClean {
		t.Errorf("exit %d", code)
	}
	// A refused capture leaves an older file alone.
	r.token = "x"
	if code, _, _ := r.run("capture", "--stream=x", "-o", file); code != exitFailed {
		t.Errorf("exit %d", code)
	}
	if got, _ := os.ReadFile(file); !bytes.Equal(got, captured) {
		t.Error("a refused capture has emptied the file")
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"1": 1, "500000": 500000, "64MiB": 64 << 20, "4GiB": 4 << 30, "8KiB": 8192, "": 0, "0": 0, "-1": 0, "x": 0, "1MB": 0, "2000GiB": 0, "4294967296GiB": 0} {
		got, err := parseSize(text)
		if got != want || (err == nil) != (want > 0) {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
}
