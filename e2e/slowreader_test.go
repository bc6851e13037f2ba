//go:build linux

package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
)

// slowReaders are clients of the API that ask, and then read nothing.
type slowReaders struct {
	t     *testing.T
	conns []net.Conn
}

// narrow gives a connection the least buffers that TCP knows: the answer is
// stuck after a few packets, not after the megabytes that a kernel would take.
func narrow(_, _ string, c syscall.RawConn) error {
	var err error
	if refused := c.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 2048)
		if err == nil {
			err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 536)
		}
	}); refused != nil {
		return refused
	}
	return err
}

// ask sends the same request on n connections, and reads nothing.
func (s *slowReaders) ask(r *relay, n int, path string) {
	s.t.Helper()
	dialer := net.Dialer{Control: narrow, Timeout: patience}
	for range n {
		conn, err := dialer.DialContext(s.t.Context(), "tcp", strings.TrimPrefix(r.api, "http://"))
		if err != nil {
			s.t.Fatal(err)
		}
		s.conns = append(s.conns, conn)
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n", path); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *slowReaders) leave() {
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

// quickReader follows the feed as a client should, and counts by kind until
// the feed ends.
func quickReader(t *testing.T, r *relay) (seen chan map[string]int, leave func()) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get(r.api + "/api/v1/events?after=0")
	if err != nil {
		t.Fatal(err)
	}
	seen = make(chan map[string]int, 1)
	go func() {
		kinds := map[string]int{}
		for lines := bufio.NewScanner(res.Body); lines.Scan(); {
			if kind, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
				kinds[kind]++
			}
		}
		seen <- kinds
	}()
	return seen, func() { _ = res.Body.Close() }
}

// Clients of the API that stand still, of every kind whose answer is long,
// cost the streams nothing and other clients nothing either; those that would
// stay for ever are cut off.
func TestSlowReadersCostNothing(t *testing.T) {
	t.Parallel()
	const ports, perPort, stuck = 20, 10, 3
	const sessions = ports * perPort
	l := startMirror(t)
	l.Ack(true)
	r := startRelay(t, backendAt(l.Addr()), "--shards", "2", "--upstream-ports", "16", "--metrics-streams", "1000")
	c := gather(t, r, ports, perPort)
	c.exchange(4, 1316)

	slow := &slowReaders{t: t}
	defer slow.leave()
	slow.ask(r, stuck, "/api/v1/events?after=0")
	slow.ask(r, stuck, "/api/v1/sessions?limit=1000")
	slow.ask(r, stuck, "/api/v1/streams?limit=1000&history=120")
	slow.ask(r, stuck, "/metrics")
	slow.ask(r, 1, "/api/v1/capture?payload=true&rate=100000&stream=__defaultVhost__/live/s00000&stream=__defaultVhost__/live/s00001")
	seen, leave := quickReader(t, r)
	defer leave()

	// Much to log while they do not read: traffic, and sessions that come and go.
	for range 3 {
		c.exchange(8, 1316)
		comeAndGo(t, r)
		c.exchange(2, 188)
	}
	c.keepalive()
	checkOthersAreServed(t, r, sessions)
	c.checkClean()
	st := r.stats()
	for _, lost := range []string{"kernel_drops", "send_buffer_full", "send_too_big", "send_failed", "events_lost", "busy"} {
		if st[lost] != 0 {
			t.Errorf("%s: %d", lost, st[lost])
		}
	}
	awaitCutOff(r, len(slow.conns)+1-stuck) // the quick one stays
	slow.leave()
	c.shutDown(r)
	r.signal(syscall.SIGTERM)
	if code := r.awaitExit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	kinds := <-seen // its end is the relay's: the last sessions' ends are in it
	if want := sessions + 3*passing; kinds["session-begun"] != want || kinds["session-ended"] != want || kinds["lost"] != 0 {
		t.Errorf("a quick reader saw %v, want %d sessions begin and end", kinds, want)
	}
}

// passing is how many sessions come and go at a time.
const passing = 200

func comeAndGo(t *testing.T, r *relay) {
	t.Helper()
	for _, s := range gather(t, r, 5, passing/5).sessions {
		if err := s.SendShutdown(); err != nil {
			t.Fatal(err)
		}
	}
}

// checkOthersAreServed asks what the slow ones asked.
func checkOthersAreServed(t *testing.T, r *relay, sessions int) {
	t.Helper()
	var list struct {
		Data struct{ Sessions []json.RawMessage }
	}
	if err := json.Unmarshal([]byte(fetch(r, "/api/v1/sessions?limit=1000&state=established")), &list); err != nil {
		t.Fatal(err)
	}
	if n := len(list.Data.Sessions); n != sessions {
		t.Errorf("%d sessions listed, want %d", n, sessions)
	}
	var streams struct{ Data struct{ Total int } }
	if err := json.Unmarshal([]byte(fetch(r, "/api/v1/streams?history=120&limit=1000")), &streams); err != nil {
		t.Fatal(err)
	}
	if streams.Data.Total < sessions {
		t.Errorf("%d streams, want %d or more", streams.Data.Total, sessions)
	}
	if text := fetch(r, "/metrics"); !strings.Contains(text, `srtrelay_stream_sessions{role="publisher",stream="__defaultVhost__/live/s00000"}`) {
		t.Error("a stream is missing in the metrics")
	}
}

// apiConnections counts the API's connections that the relay has open.
func apiConnections(r *relay) (n int) {
	r.t.Helper()
	at := netip.MustParseAddrPort(strings.TrimPrefix(r.api, "http://"))
	table, err := os.ReadFile("/proc/net/tcp")
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(table)) {
		const established = "01"
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", at.Port())) && f[3] == established {
			n++
		}
	}
	return n
}

// awaitCutOff waits until n connections of the API are left.
func awaitCutOff(r *relay, n int) {
	r.t.Helper()
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	if !eventually(func() bool { return apiConnections(r) <= n }) {
		r.t.Fatalf("slow readers of events are still served: %d connections, want %d", apiConnections(r), n)
	}
}
