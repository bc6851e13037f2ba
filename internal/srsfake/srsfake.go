// Package srsfake plays an SRS server towards the relay's API: it sends the same bytes as
// the heartbeat of SRS 7.0.18 (SrsHttpHeartbeat and SrsHttpClient), each over a new TCP
// connection. The SRT listener that it announces is one of internal/srttest or
// internal/origin.
//
// It does not use net/http, which would send other headers in another order, keep its
// connections, and send the query that SRS drops. It is for tests only.
package srsfake

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// userAgent is RTMP_SIG_SRS_SERVER of SRS 7.0.18.
const userAgent = "SRS/7.0.18(Kai)"

// timeout is SRS_HTTP_HEARTBEAT_TIMEOUT: for the connect, the write and the read.
const timeout = 30 * time.Second

// Server is the content of an SRS process's heartbeat. An empty string means SRS's default
// if SRS has one.
type Server struct {
	DeviceID string // heartbeat.device_id
	IP       string // of the network card that stats.network counts, may be private
	Server   string // vid-..., kept over restarts
	Service  string // eight characters, new with each start
	PID      int
	// SRT is the listen entry of srt_server as SRS tells it, "" for
	// udp://0.0.0.0:PORT of Port.
	SRT  string
	Port uint16
	// NoPorts is heartbeat.ports off, SRS's default: no listen entry is sent.
	NoPorts bool
	// NoRTMP leaves out rtmp, as no SRS does but other software may.
	NoRTMP bool
	// Summaries is the JSON object that heartbeat.summaries adds, "" for off.
	Summaries string

	starts int
}

// New returns the nth server of a test, with its SRT listener at an address.
func New(n int, at netip.AddrPort) Server {
	return Server{
		DeviceID: "origin1", IP: at.Addr().String(), Port: at.Port(),
		Server: fmt.Sprintf("vid-%04d", n), Service: "k3j9x2ab", PID: 4000 + n,
	}
}

// ID is the name under which relays and SRS's proxy know the process.
func (s Server) ID() string { return fmt.Sprintf("%s-%s-%d", s.Server, s.Service, s.PID) }

// Restarted returns the server after a restart: the same server, another process.
func (s Server) Restarted() Server {
	s.starts++
	s.PID += 1000
	s.Service = fmt.Sprintf("r%07d", s.starts)
	return s
}

// Body returns the heartbeat's JSON. SRS writes no blanks, and the keys in the order in
// which it sets them.
func (s Server) Body() string {
	var b strings.Builder
	fmt.Fprintf(&b, `{"device_id":%q,"ip":%q,"server":%q,"service":%q,"pid":"%d"`, s.DeviceID, s.IP, s.Server, s.Service, s.PID)
	if s.Summaries != "" {
		b.WriteString(`,"summaries":` + s.Summaries)
	}
	if !s.NoPorts {
		if !s.NoRTMP {
			b.WriteString(`,"rtmp":["19351"]`)
		}
		entry := s.SRT
		if entry == "" {
			entry = "udp://0.0.0.0:" + strconv.Itoa(int(s.Port))
		}
		fmt.Fprintf(&b, `,"http":["8081"],"api":["19851"],"srt":[%q],"rtc":["udp://0.0.0.0:8001"]`, entry)
	}
	b.WriteByte('}')
	return b.String()
}

// Request returns the bytes that SRS sends for a heartbeat with this url in its srs.conf.
// SRS drops the query of the url. It sorts the headers by name, and writes the port to
// Host unless it is 80.
func (s Server) Request(heartbeatURL string) (string, error) {
	u, err := parse(heartbeatURL)
	if err != nil {
		return "", err
	}
	host, body := u.Hostname(), s.Body()
	if port := u.Port(); port != "" && port != "80" {
		host += ":" + port // an IPv6 address stands without brackets, as SRS writes it
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return "POST " + path + " HTTP/1.1\r\n" +
		"Connection: Keep-Alive\r\n" +
		"Content-Length: " + strconv.Itoa(len(body)) + "\r\n" +
		"Content-Type: application/json\r\n" +
		"Host: " + host + "\r\n" +
		"User-Agent: " + userAgent + "\r\n" +
		"\r\n" + body, nil
}

func parse(heartbeatURL string) (*url.URL, error) {
	u, err := url.Parse(heartbeatURL)
	if err != nil {
		return nil, fmt.Errorf("heartbeat url: %w", err)
	}
	if u.Scheme != "http" || u.Host == "" {
		return nil, errors.New("heartbeat url: not http://HOST:PORT/PATH")
	}
	return u, nil
}

// Beat sends one heartbeat in one write over a new connection, reads the whole answer, and
// closes the connection, as SRS does although it asks for Keep-Alive. SRS ignores the
// status and the answer; they are for the test.
func (s Server) Beat(heartbeatURL string) (status int, answer string, err error) {
	text, err := s.Request(heartbeatURL)
	if err != nil {
		return 0, "", err
	}
	u, _ := parse(heartbeatURL) // Request has parsed it
	port := u.Port()
	if port == "" {
		port = "80"
	}
	conn, err := net.DialTimeout("tcp", net.JoinHostPort(u.Hostname(), port), timeout)
	if err != nil {
		return 0, "", fmt.Errorf("heartbeat: %w", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, "", fmt.Errorf("heartbeat: %w", err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return 0, "", fmt.Errorf("heartbeat: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0, "", fmt.Errorf("heartbeat: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", fmt.Errorf("heartbeat: %w", err)
	}
	return response.StatusCode, string(body), nil
}
