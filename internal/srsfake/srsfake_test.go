package srsfake

import (
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// What SRS 7.0.18 sends: request line, Content-Type and the body's keys are from
// a capture, the other headers and their order from its source.
const heartbeat = "POST /api/v1/srs/register/X HTTP/1.1\r\n" +
	"Connection: Keep-Alive\r\n" +
	"Content-Length: 204\r\n" +
	"Content-Type: application/json\r\n" +
	"Host: 127.0.0.1:12025\r\n" +
	"User-Agent: SRS/7.0.18(Kai)\r\n" +
	"\r\n" +
	`{"device_id":"origin1","ip":"10.0.0.5","server":"vid-abc1234","service":"k3j9x2ab","pid":"4321",` +
	`"rtmp":["19351"],"http":["8081"],"api":["19851"],"srt":["udp://0.0.0.0:10081"],"rtc":["udp://0.0.0.0:8001"]}`

var one = Server{DeviceID: "origin1", IP: "10.0.0.5", Server: "vid-abc1234", Service: "k3j9x2ab", PID: 4321, Port: 10081}

func TestHeartbeatIsSRSsOwn(t *testing.T) {
	for at, want := range map[string]string{
		"http://127.0.0.1:12025/api/v1/srs/register/X":         heartbeat,
		"http://127.0.0.1:12025/api/v1/srs/register/X?token=Y": heartbeat,
		"http://127.0.0.1/api/v1/srs/register/X":               strings.Replace(heartbeat, ":12025", "", 1),
		"http://127.0.0.1:80/api/v1/srs/register/a%2Fb":        strings.NewReplacer(":12025", "", "register/X", "register/a%2Fb").Replace(heartbeat),
		"http://relay.example:12025":                           strings.NewReplacer("127.0.0.1", "relay.example", "/api/v1/srs/register/X", "/").Replace(heartbeat),
	} {
		if got, err := one.Request(at); err != nil || got != want {
			t.Errorf("%s: %v\n%q\nwant\n%q", at, err, got, want)
		}
	}
	for _, at := range []string{"", "127.0.0.1:12025", "ftp://a/b", "http:///x", "http://[::1"} {
		if _, err := one.Request(at); err == nil {
			t.Errorf("%q is no url of a heartbeat", at)
		}
	}
}

func TestBodies(t *testing.T) {
	s := one
	s.NoPorts, s.Summaries = true, `{"ok":true}`
	if got := s.Body(); got != `{"device_id":"origin1","ip":"10.0.0.5","server":"vid-abc1234","service":"k3j9x2ab","pid":"4321","summaries":{"ok":true}}` {
		t.Error(got)
	}
	s = one
	s.NoRTMP, s.SRT = true, "10080"
	if got := s.Body(); strings.Contains(got, "rtmp") || !strings.Contains(got, `"srt":["10080"]`) {
		t.Error(got)
	}
	n := New(7, netip.MustParseAddrPort("127.0.0.1:5"))
	if n.ID() != "vid-0007-k3j9x2ab-4007" {
		t.Error(n.ID())
	}
	again := n.Restarted()
	if again.Server != n.Server || again.Service == n.Service || again.PID == n.PID || again.Restarted().ID() == again.ID() || len(again.Service) != 8 {
		t.Errorf("%+v after %+v", again, n)
	}
}

// Each heartbeat has a connection of its own, which SRS closes.
func TestBeatsConnectAnew(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := "http://" + l.Addr().String() + "/api/v1/srs/register/X"
	want, err := one.Request(at)
	if err != nil {
		t.Fatal(err)
	}
	got := make(chan string)
	go func() {
		for range 2 {
			c, err := l.Accept()
			if err != nil {
				return
			}
			text := make([]byte, len(want))
			_, _ = io.ReadFull(c, text)
			_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			rest, _ := io.ReadAll(c) // until SRS closes
			got <- string(text) + string(rest)
			_ = c.Close()
		}
	}()
	for range 2 {
		status, answer, err := one.Beat(at)
		if status != 401 || answer != "no" || err != nil {
			t.Errorf("%d %q %v", status, answer, err)
		}
		if text := <-got; text != want {
			t.Errorf("sent %q, want %q", text, want)
		}
	}
}
