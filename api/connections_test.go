package api

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// boundServer is a running server with few connections.
type boundServer struct {
	*testing.T
	*Server
	feeds chan struct{} // one for each capture that is running
}

func serveBounded(t *testing.T, most int) *boundServer {
	t.Helper()
	s := &boundServer{T: t, feeds: make(chan struct{}, 2*most)}
	deps := (&relay{}).deps()
	deps.Connections = NewConnections(most)
	deps.Capture = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		s.feeds <- struct{}{}
		<-r.Context().Done()
	})
	s.Server = New("v1", deps, slog.New(slog.DiscardHandler))
	if err := s.Listen(loopback); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		_ = s.http.Close()
		<-ended
	})
	return s
}

// dial opens a connection that says nothing, and waits until the server has it.
func (s *boundServer) dial() net.Conn {
	s.Helper()
	before := s.connections.Counts()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	s.await(func(n ConnectionCounts) bool { return n != before })
	return c
}

func (s *boundServer) await(what func(ConnectionCounts) bool) {
	s.Helper()
	for deadline := time.Now().Add(20 * time.Second); !what(s.connections.Counts()); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("counts stay %+v", s.connections.Counts())
		}
	}
}

// ask sends a request on a connection and returns the status of its answer.
func (s *boundServer) ask(c net.Conn, path string) int {
	s.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"); err != nil {
		s.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		s.Fatalf("%s: %v", path, err)
	}
	if !strings.HasPrefix(path, "/api/v1/capture") { // which does not end
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
	}
	return answer.StatusCode
}

// gone waits until the server has closed a connection.
func (s *boundServer) gone(c net.Conn) {
	s.Helper()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, net.ErrClosed) {
		s.Errorf("still open: %v", err)
	} else if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		s.Error("still open")
	}
}

// With few descriptors, connections that send half a header or nothing used to
// take them all: the API answered nobody, and no upstream socket could be
// opened.
func TestHalfOpenConnectionsDoNotStopTheAPI(t *testing.T) {
	s := serveBounded(t, 8)
	var idle []net.Conn
	for range 40 {
		c := s.dial()
		if _, err := io.WriteString(c, "GET /live HTTP/1.1\r\nHost: 127.0.0.1\r\n"); err != nil {
			t.Fatal(err)
		}
		idle = append(idle, c)
	}
	if n := s.connections.Counts(); n.Open != 4 || n.Replaced != 36 || n.Refused != 0 {
		t.Errorf("%+v, want half of 8 open for one source", n)
	}
	for _, c := range idle[:36] { // the oldest first
		s.gone(c)
	}
	if status := s.ask(s.dial(), "/live"); status != 200 {
		t.Errorf("status %d", status)
	}
}

// sources is how many sources have connections.
func (s *boundServer) sources() int {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	return len(s.connections.sources)
}

// A connection between two requests is idle too, and gives way before one that
// came later; a feed is never idle.
func TestOldestIdleConnectionGivesWay(t *testing.T) {
	s := serveBounded(t, 6) // 3 for one source
	feed, first, second := s.dial(), s.dial(), s.dial()
	if status := s.ask(feed, "/api/v1/capture?stream=a"); status != 200 {
		t.Fatal(status)
	}
	<-s.feeds
	// The second has been idle longer now.
	if status := s.ask(first, "/live"); status != 200 {
		t.Fatal(status)
	}
	third := s.dial()
	s.gone(second)
	for _, c := range []net.Conn{first, third} {
		if status := s.ask(c, "/live"); status != 200 {
			t.Errorf("status %d", status)
		}
	}
	_ = feed.Close()
	s.await(func(n ConnectionCounts) bool { return n.Open == 2 })
	if n := s.sources(); n != 1 {
		t.Errorf("%d sources", n)
	}
	_, _ = first.Close(), third.Close()
	s.await(func(n ConnectionCounts) bool { return n.Open == 0 })
	if n := s.sources(); n != 0 {
		t.Errorf("%d sources", n)
	}
}

// Feeds and captures last: they get half of the connections, so that the other
// half is there to ask what is going on.
func TestFeedsLeaveRoomForQuestions(t *testing.T) {
	s := serveBounded(t, 8)
	s.connections.perSource = 8
	for range 4 {
		if status := s.ask(s.dial(), "/api/v1/capture?stream=a"); status != 200 {
			t.Fatal(status)
		}
	}
	if status := s.ask(s.dial(), "/api/v1/capture?stream=a"); status != http.StatusServiceUnavailable {
		t.Errorf("a fifth of 4: %d", status)
	}
	if status := s.ask(s.dial(), "/api/v1/events"); status != http.StatusServiceUnavailable {
		t.Errorf("a feed beside 4 captures: %d", status)
	}
	if status := s.ask(s.dial(), "/live"); status != 200 {
		t.Errorf("a question: %d", status)
	}
}

// What is busy does not give way: who comes is turned away at once.
func TestBusyConnectionsStay(t *testing.T) {
	s := serveBounded(t, 2) // 1 for one source
	if status := s.ask(s.dial(), "/api/v1/capture?stream=a"); status != 200 {
		t.Fatal(status)
	}
	<-s.feeds
	s.gone(s.dial())
	if n := s.connections.Counts(); n != (ConnectionCounts{Open: 1, Refused: 1}) {
		t.Errorf("%+v", n)
	}
}

// A connection whose answer is sent, and whose request the server will not read
// to its end, lingers for half a second: it gives way before one that may be
// asked on.
func TestLingeringConnectionGivesWayFirst(t *testing.T) {
	s := serveBounded(t, 4) // 2 for one source
	kept, lingering := s.dial(), s.dial()
	if status := s.ask(kept, "/live"); status != 200 {
		t.Fatal(status)
	}
	s.await(func(ConnectionCounts) bool { return s.idle() == 2 })
	const large = "POST /api/v1/srs/register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10000000\r\n\r\n"
	if _, err := io.WriteString(lingering, large+"{"); err != nil {
		t.Fatal(err)
	}
	if _, err := http.ReadResponse(bufio.NewReader(lingering), nil); err != nil {
		t.Fatal(err)
	}
	s.await(func(n ConnectionCounts) bool { return s.idle() == 2 || n.Open == 1 }) // on a busy machine it is over
	s.dial()
	if status := s.ask(kept, "/live"); status != 200 {
		t.Errorf("the one that was kept: %d", status)
	}
	if err := s.Shutdown(t.Context()); err != nil { // waits for what lingers
		t.Error(err)
	}
}

// idle counts the connections that may give way.
func (s *boundServer) idle() (n int) {
	s.connections.mu.Lock()
	defer s.connections.mu.Unlock()
	for c := range s.connections.open {
		if c.idle {
			n++
		}
	}
	return n
}

func TestSourcesOfConnections(t *testing.T) {
	for at, want := range map[string]string{
		"192.0.2.1:5": "192.0.2.1/32", "[::ffff:192.0.2.1]:5": "192.0.2.1/32", "[2001:db8:1:2:3::4]:5": "2001:db8:1:2::/64", "[fe80::1%lo]:5": "fe80::/64",
	} {
		if got := sourceOf(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(at))); got.String() != want {
			t.Errorf("%s: %s, want %s", at, got, want)
		}
	}
	if got := sourceOf(&net.UnixAddr{}); got.IsValid() {
		t.Errorf("no address has source %s", got)
	}
}
