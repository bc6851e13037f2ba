//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gopacket/gopacket/pcapgo"

	"srtrelay/internal/clocale"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// running is a capture under way.
type running struct {
	t        *testing.T
	response *http.Response
	file     bytes.Buffer
	done     chan error // once the file is complete
}

// capture starts a capture. When it returns, what it is for is copied.
func (r *relay) capture(query string) *running {
	r.t.Helper()
	client := r.client()
	client.Timeout = 0 // it lasts as long as the capture
	response, err := client.Get(r.api + "/api/v1/capture?" + query)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(response.Body)
		r.t.Fatalf("capture %s: %s %s", query, response.Status, body)
	}
	c := &running{t: r.t, response: response, done: make(chan error, 1)}
	go func() {
		_, err := c.file.ReadFrom(response.Body)
		c.done <- err
	}()
	return c
}

// end waits for the end of the file.
func (c *running) end(why string) {
	c.t.Helper()
	select {
	case err := <-c.done:
		must(c.t, err)
	case <-time.After(patience):
		c.t.Fatal("the capture does not end")
	}
	if got := c.response.Trailer.Get("Capture-Ended"); got != why {
		c.t.Errorf("the capture ended because %q, want %q", got, why)
	}
}

func (c *running) trailer(name string) int {
	c.t.Helper()
	n, err := strconv.Atoi(c.response.Trailer.Get(name))
	if err != nil {
		c.t.Errorf("trailer %s: %v", name, err)
	}
	return n
}

// endedSession is what a capture of single sessions says when they are gone.
const endedSession = "sessions have ended"

// dissected is one packet of a file as tshark sees it.
type dissected map[string]string

// dissectedFields are what the tests look at; every tshark since 3.4 has them.
var dissectedFields = []string{
	"frame.interface_name", "frame.packet_flags_direction", "frame.len", "frame.cap_len",
	"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport", "frame.protocols",
	"srt.iscontrol", "srt.type", "srt.seqno", "srt.id", "srt.hs.sid", "srt.hs.id", "srt.hs.reqtype", "srt.hs.isn",
	"_ws.expert.message",
}

// dissect has the real tshark read the file.
func (c *running) dissect(options ...string) []dissected {
	c.t.Helper()
	tshark := need.Tool(c.t, "tshark")
	name := filepath.Join(c.t.TempDir(), "capture.pcapng")
	must(c.t, os.WriteFile(name, c.file.Bytes(), 0o600))
	args := append([]string{"-n", "-r", name, "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"}, options...)
	for _, f := range dissectedFields {
		args = append(args, "-e", f)
	}
	cmd := clocale.CommandContext(patiently(c.t), tshark, args...)
	cmd.Env = clocale.Environ("HOME=" + c.t.TempDir()) // nobody's preferences
	out, err := cmd.Output()
	if err != nil {
		failed := new(exec.ExitError)
		errors.As(err, &failed)
		c.t.Fatalf("tshark: %v\n%s", err, failed.Stderr)
	}
	var all []dissected
	for line := range strings.Lines(string(out)) {
		values := strings.Split(strings.TrimRight(line, "\n"), "|")
		if len(values) != len(dissectedFields) {
			c.t.Fatalf("tshark said %q", line)
		}
		p := dissected{}
		for i, f := range dissectedFields {
			p[f] = values[i]
			if hex, ok := strings.CutPrefix(values[i], "0x"); ok {
				n, err := strconv.ParseUint(hex, 16, 64)
				must(c.t, err)
				p[f] = strconv.FormatUint(n, 10)
			}
		}
		all = append(all, p)
	}
	return all
}

// matching returns the packets that have all these values.
func matching(all []dissected, want dissected) (found []dissected) {
	for _, p := range all {
		ok := true
		for field, value := range want {
			ok = ok && p[field] == value
		}
		if ok {
			found = append(found, p)
		}
	}
	return found
}

// A capture from the handshake on is dissected as SRT without a hint, and says
// what the peers sent: on both legs, with each leg's own addresses.
func TestCaptureDissects(t *testing.T) {
	t.Parallel()
	need.Tool(t, "tshark")
	for name, at := range map[string]netip.AddrPort{"IPv4": loopback, "IPv6": loopback6} {
		for _, payload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, payload %v", name, payload), func(t *testing.T) {
				t.Parallel()
				if at == loopback6 {
					needIPv6(t)
				}
				l := startBackend(t, srttest.ListenerConfig{Local: at, Mode: srttest.Echo})
				r := startRelay(t, backendAt(l.Addr()), "--listen="+at.String())
				const streamID = "#!::h=live.example,r=app/captured,m=publish"
				c := r.capture("wait=true&payload=" + strconv.FormatBool(payload) + "&stream=" + url.QueryEscape(keyOf(t, r, streamID)))
				const n = 40
				other := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=app/other,m=publish"})
				s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: streamID})
				echo(t, other, 5)
				echo(t, s, n)
				must(t, s.SendShutdown())
				must(t, other.SendShutdown())
				r.awaitEmpty()
				r.signal(syscall.SIGTERM)
				c.end("relay has stopped")
				backend, _ := connectionOf(t, s, l)
				all := c.dissect()
				checkHandshake(t, all, s, backend, streamID)
				checkData(t, all, s, backend, n, payload)
				if kept := c.trailer("Capture-Packets"); kept != len(all) || c.trailer("Capture-Dropped") != 0 {
					t.Errorf("trailers %v of %d packets", c.response.Trailer, len(all))
				}
			})
		}
	}
}

// keyOf asks the relay for a stream's key.
func keyOf(t *testing.T, r *relay, streamID string) string {
	t.Helper()
	var answer struct{ Key string }
	r.get("/api/v1/resolve?streamid="+url.QueryEscape(streamID), &answer)
	if answer.Key == "" {
		t.Fatalf("no key for %s", streamID)
	}
	return answer.Key
}

func checkHandshake(t *testing.T, all []dissected, s *srttest.Session, backend *srttest.Connection, streamID string) {
	t.Helper()
	for i, p := range all {
		if !strings.Contains(p["frame.protocols"], ":udp:srt") {
			t.Errorf("packet %d is dissected as %s", i, p["frame.protocols"])
		}
		// Only of UDP on IPv6 tshark wants a checksum where a datagram is cut.
		if message := p["_ws.expert.message"]; message != "" && (p["ip.src"] != "" || !strings.Contains(message, "checksum")) {
			t.Errorf("packet %d: %s", i, p["_ws.expert.message"])
		}
	}
	id := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	front, back := s.Target().Port(), backend.Source.Port()
	for _, leg := range []struct {
		name string
		want dissected
	}{
		{"CONCLUSION from the caller", dissected{
			"frame.interface_name": "callers", "udp.srcport": id(uint32(s.Port().Addr().Port())), "udp.dstport": id(uint32(front)),
			"srt.hs.sid": streamID, "srt.hs.id": id(s.ID()), "srt.hs.isn": id(s.ISN()),
		}},
		{"CONCLUSION to the backend", dissected{
			"frame.interface_name": "backends", "udp.srcport": id(uint32(back)),
			"srt.hs.sid": streamID, "srt.hs.id": id(s.ID()), "srt.hs.isn": id(s.ISN()),
		}},
		{"response of the backend", dissected{
			"frame.interface_name": "backends", "udp.dstport": id(uint32(back)), "srt.hs.id": id(backend.ID), "srt.id": id(s.ID()),
		}},
		{"response to the caller", dissected{
			"frame.interface_name": "callers", "udp.srcport": id(uint32(front)), "srt.hs.id": id(backend.ID), "srt.id": id(s.ID()),
		}},
	} {
		if len(matching(all, leg.want)) == 0 {
			t.Errorf("no %s: nothing of %d packets has %v", leg.name, len(all), leg.want)
		}
	}
}

func checkData(t *testing.T, all []dissected, s *srttest.Session, backend *srttest.Connection, n int, payload bool) {
	t.Helper()
	family := "ip"
	headers := 28
	if s.Target().Addr().Is6() {
		family, headers = "ipv6", 48
	}
	number := func(text string) int {
		n, err := strconv.Atoi(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		return n
	}
	for _, leg := range []struct {
		name     string
		from, to netip.AddrPort
		dest     uint32
	}{
		{"callers", s.Port().Addr(), s.Target(), backend.ID},
		{"backends", backend.Source, netip.AddrPort{}, backend.ID},
		{"backends", netip.AddrPort{}, backend.Source, s.ID()},
		{"callers", s.Target(), s.Port().Addr(), s.ID()},
	} {
		want := dissected{"frame.interface_name": leg.name, "srt.iscontrol": "0", "srt.id": strconv.FormatUint(uint64(leg.dest), 10)}
		if leg.from.IsValid() {
			want[family+".src"], want["udp.srcport"] = leg.from.Addr().String(), strconv.Itoa(int(leg.from.Port()))
		}
		if leg.to.IsValid() {
			want[family+".dst"], want["udp.dstport"] = leg.to.Addr().String(), strconv.Itoa(int(leg.to.Port()))
		}
		found := matching(all, want)
		if len(found) != n {
			t.Errorf("%d data packets with %v, want %d", len(found), want, n)
		}
		for i, p := range found {
			if got, first := number(p["srt.seqno"]), number(found[0]["srt.seqno"]); got != first+i {
				t.Errorf("%v: sequence number %d, want %d", want, got, first+i)
			}
			size, kept := number(p["frame.len"]), number(p["frame.cap_len"])
			if size != headers+16+1316 || payload && kept != size || !payload && kept != headers+16 {
				t.Errorf("%v: %d bytes, of which %d are kept", want, size, kept)
			}
		}
		if leg.from == s.Port().Addr() && len(found) > 0 && number(found[0]["srt.seqno"]) != int(s.ISN()) {
			t.Errorf("the first sequence number is %s, want %d", found[0]["srt.seqno"], s.ISN())
		}
	}
}

// A capture of one session holds nobody else's datagrams, and ends a while
// after it. One that begins later needs to be told which port is SRT's.
func TestCaptureOfOneSession(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/x"})
	other := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/x"})
	id := sessionOf(t, r, s)
	c := r.capture("session=" + id)
	echo(t, s, 10)
	echo(t, other, 10)
	must(t, s.SendShutdown())
	c.end(endedSession)
	echo(t, other, 10)

	backend, _ := connectionOf(t, s, l)
	all := c.dissect("-d", fmt.Sprintf("udp.port==%d,srt", r.addr.Port()), "-d", fmt.Sprintf("udp.port==%d,srt", l.Addr().Port()))
	data, shutdowns := 0, 0
	for i, p := range all {
		if got := p["srt.id"]; got != strconv.Itoa(int(s.ID())) && got != strconv.Itoa(int(backend.ID)) {
			t.Errorf("packet %d is for socket %q: %v", i, got, p)
		}
		switch {
		case p["srt.iscontrol"] == "0":
			data++
		case p["srt.type"] == "5": // SHUTDOWN
			shutdowns++
		}
	}
	if data != 40 || shutdowns < 2 {
		t.Errorf("%d data packets and %d SHUTDOWNs, want 40 and both legs'", data, shutdowns)
	}
	if res, err := http.Get(r.api + "/api/v1/capture?session=" + id); err != nil || res.StatusCode != http.StatusNotFound {
		t.Errorf("a session that is gone: %v, %v", res, err)
	}
	must(t, other.SendShutdown())
	r.awaitEmpty()
}

// sessionOf asks the relay for the ID of a caller's session.
func sessionOf(t *testing.T, r *relay, s *srttest.Session) string {
	t.Helper()
	id := r.findSession(s.ID())
	if id == "" {
		t.Fatalf("no session of socket %d", s.ID())
	}
	return id
}

// findSession asks the relay for the ID of the session of a caller's socket; "" for none.
func (r *relay) findSession(callerID uint32) string {
	r.t.Helper()
	var list struct {
		Sessions []struct {
			ID       string
			CallerID uint32 `json:"caller_socket_id"`
		}
	}
	r.get("/api/v1/sessions?limit=1000", &list)
	for _, one := range list.Sessions {
		if one.CallerID == callerID {
			return one.ID
		}
	}
	return ""
}

// A client that reads nothing loses of its capture, which says so, and no
// session loses a datagram.
func TestCaptureStalledClient(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()), "--shards=1")
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "live/x"})
	conn, err := net.Dial("tcp", strings.TrimPrefix(r.api, "http://"))
	must(t, err)
	defer conn.Close()
	request, err := http.NewRequest(http.MethodGet, r.api+"/api/v1/capture?payload=true&bytes=4GiB&rate=1000000&session="+sessionOf(t, r, s), nil)
	must(t, err)
	must(t, request.Write(conn))
	// The answer's first bytes: the capture is on.
	first := make([]byte, 1)
	_, err = io.ReadFull(conn, first)
	must(t, err)
	// More than socket buffers and a shard's 8 MiB of ring hold, each datagram
	// being in the ring once and in the file twice.
	const rounds, each = 150, 100
	for range rounds {
		echo(t, s, each)
	}
	must(t, s.SendShutdown())
	r.awaitEmpty()
	body := readAnswer(t, io.MultiReader(bytes.NewReader(first), conn), request)
	file, err := pcapgo.NewNgReader(bytes.NewReader(body), pcapgo.NgReaderOptions{})
	must(t, err)
	packets := [2]uint64{}
	for {
		_, about, err := file.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		packets[about.InterfaceIndex]++
	}
	for i := range 2 {
		one, err := file.Interface(i)
		must(t, err)
		st := one.Statistics
		if st.PacketsDropped == 0 || packets[i] == 0 || st.PacketsReceived != packets[i]+st.PacketsDropped {
			t.Errorf("interface %s has %d packets, and says %+v", one.Name, packets[i], st)
		}
		// Data both ways and the SHUTDOWN, and what else the peers say.
		if st.PacketsReceived < 2*rounds*each+1 {
			t.Errorf("interface %s has seen %d packets", one.Name, st.PacketsReceived)
		}
	}
}

// readAnswer reads an HTTP answer to its end.
func readAnswer(t *testing.T, from io.Reader, request *http.Request) []byte {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(from), request)
	must(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return body
}
