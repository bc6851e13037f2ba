package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"srtrelay/observe/capture"
	"srtrelay/observe/capture/pcapng"
	"srtrelay/shard"
)

// tapped is one shard whose turns the test makes.
type tapped struct {
	err     error
	capture *capture.Capture
}

func (s *tapped) Capture(_ context.Context, f capture.Filter, k capture.Keep) (*capture.Capture, func(), error) {
	if s.err != nil {
		return nil, nil, s.err
	}
	s.capture = capture.New(f, k, 1)
	return s.capture, func() {}, nil
}

func TestCaptureParameters(t *testing.T) {
	byDefault := pcapng.Job{
		Filter: capture.Filter{Streams: []string{"live/x"}},
		Keep:   capture.Keep{Rate: defaultCaptureRate}, Time: time.Minute, Bytes: 64 << 20, Title: `stream "live/x"`,
	}
	with := func(change func(*pcapng.Job)) pcapng.Job {
		j := byDefault
		change(&j)
		return j
	}
	for _, c := range []struct {
		query string
		want  pcapng.Job
		wrong string // how the line begins
	}{
		{query: "stream=live/x", want: byDefault},
		{query: "stream=live/x&payload=false&token=abc", want: byDefault},
		{query: "stream=live/x&stream=live/x", want: byDefault},
		{query: "stream=live/x&wait=true", want: byDefault},
		{query: "stream=live/x&wait=perhaps", wrong: "wait: "},
		{query: "stream=", want: with(func(j *pcapng.Job) { j.Filter.Streams, j.Title = []string{""}, `stream ""` })},
		{query: "stream=live/x&payload=true&seconds=3600&bytes=4GiB&rate=7", want: with(func(j *pcapng.Job) {
			j.Keep, j.Time, j.Bytes = capture.Keep{Payload: true, Rate: 7}, time.Hour, 4<<30
		})},
		{query: "session=1-2-3&session=0-17-42&bytes=4096", want: with(func(j *pcapng.Job) {
			j.Filter = capture.Filter{Sessions: []capture.Session{{Shard: 0, Index: 17, Gen: 42}, {Shard: 1, Index: 2, Gen: 3}}}
			j.Bytes, j.Title = 4096, `session "0-17-42", session "1-2-3"`
		})},
		{query: "stream=b&stream=a&session=0-1-2&bytes=5MiB", want: with(func(j *pcapng.Job) {
			j.Filter = capture.Filter{Streams: []string{"a", "b"}, Sessions: []capture.Session{{Index: 1, Gen: 2}}}
			j.Bytes, j.Title = 5<<20, `stream "a", stream "b", session "0-1-2"`
		})},
		{query: "", wrong: "stream: missing"},
		{query: "strem=x", wrong: "strem: unknown"},
		{query: "session=1-2", wrong: "session: "},
		{query: "stream=x&payload=yes", wrong: "payload: "},
		{query: "stream=x&seconds=0", wrong: "seconds: "},
		{query: "stream=x&seconds=3601", wrong: "seconds: "},
		{query: "stream=x&bytes=4095", wrong: "bytes: "},
		{query: "stream=x&bytes=5GiB", wrong: "bytes: "},
		{query: "stream=x&bytes=9223372036854775807GiB", wrong: "bytes: "},
		{query: "stream=x&bytes=-1", wrong: "bytes: "},
		{query: "stream=x&bytes=MiB", wrong: "bytes: "},
		{query: "stream=x&rate=0", wrong: "rate: "},
		{query: "stream=x&rate=10000001", wrong: "rate: "},
		{query: strings.Repeat("stream=x&", maxCaptured+1), wrong: "stream: given"},
	} {
		got, wait, err := captureJob(c.query)
		switch {
		case c.wrong != "":
			if err == nil || !strings.HasPrefix(err.Error(), c.wrong) {
				t.Errorf("%s: %v, want %q...", c.query, err, c.wrong)
			}
		case err != nil:
			t.Errorf("%s: %v", c.query, err)
		case wait != strings.Contains(c.query, "wait=true"):
			t.Errorf("%s: wait %v", c.query, wait)
		case fmt.Sprint(got) != fmt.Sprint(c.want):
			t.Errorf("%s:\n%+v, want\n%+v", c.query, got, c.want)
		}
	}
}

func TestCaptureRefusals(t *testing.T) {
	shards := new(tapped)
	r := relay{}
	deps := r.deps()
	recorder := pcapng.NewRecorder(shards, "srtrelay")
	deps.Capture, deps.Token = CaptureHandler(recorder, &r.spoken, discard), "secret"
	h := newHandler("v1", deps, discard).mux()
	ask := func(method, query string, status int, words string) {
		t.Helper()
		w := recordOf(h, method, "/api/v1/capture?"+query)
		if w.Code != status || !strings.Contains(w.Body.String(), words) {
			t.Errorf("%s %s: %d %s, want %d and %q", method, query, w.Code, w.Body, status, words)
		}
	}
	ask("GET", "stream=x", 401, "token")
	ask("HEAD", "stream=x&token=secret", 405, "")
	ask("POST", "stream=x&token=secret", 405, "")
	ask("GET", "stream=x&token=secret&seconds=x", 400, "seconds: ")
	ask("GET", "stream=nobody/here&token=secret", 404, "no such stream: nobody/here")
	ask("GET", "stream=x&stream=nobody/here&token=secret&wait=false", 404, "no such stream: nobody/here")
	shards.err = fmt.Errorf("%w: 0-1-2", shard.ErrNoSession)
	ask("GET", "session=0-1-2&token=secret", 404, "0-1-2")
	shards.err = errors.New("the relay stops")
	ask("GET", "stream=x&token=secret", 503, "the relay stops")
	shards.err = nil
	r.spoken.err = errors.New("no shard answers")
	ask("GET", "stream=x&token=secret", 503, "no shard answers")
	r.spoken.err = nil
	for range pcapng.MaxRecordings {
		running, err := recorder.Begin(t.Context(), pcapng.Job{})
		if err != nil {
			t.Fatal(err)
		}
		defer running.Close()
	}
	ask("GET", "stream=x&token=secret", 503, "running")
}

// The file reaches the client while it grows, for longer than the server
// otherwise lets a request take, and the trailers tell how it went.
func TestCaptureIsStreamed(t *testing.T) {
	shards := new(tapped)
	r := relay{}
	deps := r.deps()
	deps.Capture = CaptureHandler(pcapng.NewRecorder(shards, "srtrelay v1"), &r.spoken, discard)
	server := httptest.NewUnstartedServer(newHandler("v1", deps, discard).mux())
	const limit = time.Second // the client gets the CPU within it
	server.Config.ReadTimeout, server.Config.WriteTimeout = limit, limit
	server.Start()
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/api/v1/capture?session=0-1-2", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/x-pcapng" ||
		!strings.HasSuffix(response.Header.Get("Content-Disposition"), ".pcapng") {
		t.Fatalf("%s %v", response.Status, response.Header)
	}
	file, err := pcapgo.NewNgReader(response.Body, pcapgo.NgReaderOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if about := file.SectionInfo(); about.Application != "srtrelay v1" || !strings.Contains(about.Comment, "0-1-2") {
		t.Errorf("section %+v", about)
	}
	tap := shards.capture.Tap(0)
	forward := func() {
		tap.Copy(0, capture.ToBackend|capture.Forwarded, &capture.Ends{}, make([]byte, 100))
		tap.Commit()
	}
	for range 2 {
		forward()
		for range 2 {
			if _, _, err := file.ReadPacketData(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(limit) // that the deadlines pass is the input
	}
	forward()
	tap.End()
	if rest, err := io.ReadAll(response.Body); err != nil || len(rest) == 0 {
		t.Errorf("%d bytes at the end, %v", len(rest), err)
	}
	trailers := []string{response.Trailer.Get("Capture-Ended"), response.Trailer.Get("Capture-Packets"), response.Trailer.Get("Capture-Dropped")}
	if !slices.Equal(trailers, []string{pcapng.EndedSessions, "6", "0"}) {
		t.Errorf("trailers %q", trailers)
	}
}

// A client that leaves ends its capture, which makes room for another.
func TestCaptureClientLeaves(t *testing.T) {
	shards := new(tapped)
	r := relay{}
	deps := r.deps()
	deps.Capture = CaptureHandler(pcapng.NewRecorder(shards, "srtrelay"), &r.spoken, discard)
	server := httptest.NewServer(newHandler("v1", deps, discard).mux())
	defer server.Close()
	deadline := time.Now().Add(20 * time.Second)
	for begun := 0; begun < 2*pcapng.MaxRecordings; {
		response, err := server.Client().Get(server.URL + "/api/v1/capture?stream=x")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		switch {
		case response.StatusCode == http.StatusOK:
			begun++
		case time.Now().After(deadline):
			t.Fatalf("the captures of %d clients that left go on: %s", begun, response.Status)
		default:
			time.Sleep(5 * time.Millisecond) // the last ones are about to end
		}
	}
}
