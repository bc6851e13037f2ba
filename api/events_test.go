package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
)

// pipes is a listener whose connections are pipes, so that a test has time in
// its own hands.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

// served is the API on pipes, with its feed.
type served struct {
	*testing.T
	*Server
	feed *Feed
	net  *pipes
	done chan error
}

func serve(t *testing.T) *served {
	s := &served{T: t, feed: NewFeed(time.Unix(1, 0)), net: newPipes(), done: make(chan error, 1)}
	deps := (&relay{}).deps()
	deps.Feed = s.feed
	s.Server = New("v1", deps, discard)
	s.listener = s.net
	go func() { s.done <- s.Serve() }()
	return s
}

// open sends a request for events and returns the connection.
func (s *served) open(query string, header ...string) net.Conn {
	client, server := net.Pipe()
	s.net.conns <- server
	_, err := fmt.Fprintf(client, "GET /api/v1/events%s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", query, strings.Join(header, ""))
	if err != nil {
		s.Fatal(err)
	}
	return client
}

// follow reads the answer's beginning.
func (s *served) follow(query string, header ...string) *following {
	s.Helper()
	conn := s.open(query, header...)
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		s.Fatal(err)
	}
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" {
		s.Fatalf("%s: %s, %v", query, res.Status, res.Header)
	}
	f := &following{T: s.T, conn: conn, lines: bufio.NewReader(res.Body)}
	if hello := f.block(); hello != ": events of srtrelay\nretry: 2000\n" {
		s.Fatalf("hello %q", hello)
	}
	return f
}

func (s *served) end() {
	s.Helper()
	if err := s.Shutdown(s.Context()); err != nil {
		s.Error(err)
	}
	if err := <-s.done; err != nil {
		s.Error(err)
	}
}

// following is a client of server-sent events.
type following struct {
	*testing.T
	conn  net.Conn
	lines *bufio.Reader
}

// block reads up to an empty line, "" at the end.
func (f *following) block() string {
	f.Helper()
	var b strings.Builder
	for {
		line, err := f.lines.ReadString('\n')
		switch {
		case errors.Is(err, io.EOF) && b.Len() == 0:
			return ""
		case err != nil:
			f.Fatalf("%v after %q", err, b.String())
		case line == "\n":
			return b.String()
		}
		b.WriteString(line)
	}
}

// event reads the next event; its three lines must say the same.
func (f *following) event() answer.Event {
	f.Helper()
	block := f.block()
	_, data, _ := strings.Cut(block, "\ndata: ")
	var e answer.Event
	if err := json.Unmarshal([]byte(data), &e); err != nil {
		f.Fatalf("%v in %q", err, block)
	}
	if head := fmt.Sprintf("id: %d\nevent: %s\ndata: ", e.ID, e.Kind); !strings.HasPrefix(block, head) {
		f.Errorf("%q does not begin with %q", block, head)
	}
	return e
}

func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		shard := 0
		sent := answer.Event{
			Time: moment, Kind: answer.EventSessionEnded, Shard: &shard, Session: "0-1-2", Stream: "v/live/a", Role: "player",
			Caller: "192.0.2.1:5", Backend: "b", Address: "10.0.0.1:1", Cause: "idle", TookMillis: 1.5,
		}
		s.feed.Publish(sent) // before the reader came
		all := s.follow("")
		ended := s.follow("?kind=session-ended&kind=backend-gone")
		stream := s.follow("?stream=v/live/a")
		again := s.follow("?after=7", fmt.Sprintf("Last-Event-ID: %d\r\n", start))
		everything := s.follow("?after=0")

		s.feed.Publish(answer.Event{Time: moment, Kind: answer.EventSessionBegun, Stream: "v/live/b"})
		s.feed.Publish(sent)
		for name, c := range map[string]struct {
			*following
			want []uint64
		}{
			"all": {all, []uint64{start + 1, start + 2}}, "ended": {ended, []uint64{start + 2}}, "stream": {stream, []uint64{start + 2}},
			"again": {again, []uint64{start + 1, start + 2}}, "everything": {everything, []uint64{start, start + 1, start + 2}},
		} {
			for _, id := range c.want {
				e := c.event()
				if e.ID != id {
					t.Errorf("%s: event %d, want %d", name, e.ID, id)
				}
				if id == start+2 {
					if e.Shard == nil || *e.Shard != 0 {
						t.Errorf("%s: shard 0 is missing", name)
					}
					if e.ID, e.Shard = 0, sent.Shard; e != sent {
						t.Errorf("%s: %+v, want %+v", name, e, sent)
					}
				}
			}
		}
		shut := make(chan struct{})
		go func() { s.end(); close(shut) }()
		for _, f := range []*following{all, ended, stream, again, everything} {
			if rest := f.block(); rest != "" {
				t.Errorf("after the end: %q", rest)
			}
			_ = f.conn.Close()
		}
		<-shut
	})
}

// Deadlines that bound other answers do not cut this one, and a quiet feed is
// seen to live.
func TestQuietFeedLives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		f := s.follow("")
		begun := time.Now()
		for i := range 10 {
			if block := f.block(); block != ": heartbeat\n" {
				t.Fatalf("%q", block)
			}
			if d := time.Since(begun); d != time.Duration(i+1)*heartbeatEvery {
				t.Fatalf("heartbeat %d after %v", i, d)
			}
		}
		publish(s.feed, 1)
		if e := f.event(); e.ID != start {
			t.Errorf("%+v", e)
		}
		_ = f.conn.Close()
		synctest.Wait()
		if n := len(s.feed.readers); n != 0 {
			t.Errorf("%d readers although the client has left", n)
		}
		s.end()
	})
}

// A reader that stands still delays nobody, is told what it missed if it goes
// on, and is cut off if it does not.
func TestSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		slow, stuck, quick := s.follow(""), s.follow(""), s.follow("")
		const more = 10
		begun := time.Now()
		publish(s.feed, 1) // the handlers are in the midst of writing this one
		synctest.Wait()
		publish(s.feed, feedSize+more)
		if d := time.Since(begun); d != 0 {
			t.Errorf("publishing waited %v", d)
		}
		for i, f := range []*following{slow, quick} {
			if e := f.event(); e.ID != start {
				t.Errorf("reader %d: first %+v", i, e)
			}
			e := f.event()
			if e.Kind != "lost" || e.Lost != more || e.ID != start+more {
				t.Errorf("reader %d: %+v, want %d lost", i, e, more)
			}
			for k := range uint64(feedSize) {
				if e := f.event(); e.ID != start+more+1+k {
					t.Fatalf("reader %d: event %d, want %d", i, e.ID, start+more+1+k)
				}
			}
		}
		for _, f := range []*following{slow, quick} {
			go func() { _, _ = io.Copy(io.Discard, f.lines) }()
		}
		time.Sleep(feedWriteTimeout + time.Second) // of the bubble
		synctest.Wait()
		if n := len(s.feed.readers); n != 2 {
			t.Errorf("%d readers, want 2: one stands still", n)
		}
		for _, f := range []*following{slow, stuck, quick} {
			_ = f.conn.Close()
		}
		s.end()
	})
}

func TestTooManyReaders(t *testing.T) {
	r := &relay{}
	deps := r.deps()
	for range maxFeedReaders {
		deps.Feed.subscribe()
	}
	h := newHandler("v1", deps, discard)
	w := recordOf(h.mux(), "GET", "/api/v1/events")
	if w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// The relay's end does not wait for readers, and they learn what came last.
func TestShutdownEndsReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t)
		f := s.follow("")
		begun := time.Now()
		s.feed.Publish(answer.Event{Kind: answer.EventSessionEnded, Cause: "relay stopped"})
		shut := make(chan error)
		go func() { shut <- s.Shutdown(context.Background()) }()
		if e := f.event(); e.Cause != "relay stopped" {
			t.Errorf("%+v", e)
		}
		if rest := f.block(); rest != "" {
			t.Errorf("%q", rest)
		}
		if err := <-shut; err != nil || time.Since(begun) > time.Second {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
		<-s.done
		_ = f.conn.Close()
	})
}
