//go:build linux

package e2e

import (
	"net/http"
	"strings"
	"testing"

	"srtrelay/internal/srttest"
	"srtrelay/wire"
)

// cluster is a relay in front of two echoing backends.
type cluster struct {
	*relay
	backends []*srttest.Listener
}

func startCluster(t *testing.T, args ...string) cluster {
	t.Helper()
	one, two := startEcho(t), startEcho(t)
	args = append(args, backendAt(one.Addr()), backendAt(two.Addr()))
	return cluster{startRelay(t, args...), []*srttest.Listener{one, two}}
}

// backendOf is the index of the backend that serves s.
func (c cluster) backendOf(s *srttest.Session) int {
	c.t.Helper()
	_, i := connectionOf(c.t, s, c.backends...)
	return i
}

// routeOf is how the relay read a session's stream ID.
func routeOf(r *relay, s *srttest.Session) (key, role string) {
	r.t.Helper()
	l := r.awaitLog("session begun", func(l logLine) bool { return l.number("caller_id") == int64(s.ID()) })
	return l.text("stream"), l.text("role")
}

// wantRoute dials with o, which must lead to key.
func wantRoute(t *testing.T, r *relay, o srttest.CallerOptions, key, role string) *srttest.Session {
	t.Helper()
	s := mustDial(t, r.addr, o)
	if k, p := routeOf(r, s); k != key || p != role {
		t.Errorf("stream ID %q: %s of %s, want %s of %s", o.StreamID, p, k, role, key)
	}
	return s
}

const defaultStream = "__defaultVhost__/live/livestream"

// A stream ID that SRS would close the connection for is rejected at once.
func TestCase12MalformedStreamID(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	for _, id := range []string{"#!::", "#!::h=host.com,m=publish", "#!::r=,m=publish", "#!::r=live/x,m=bidirectional", "#!::r=live/x,m="} {
		_, err := tryDial(t, r.addr, srttest.CallerOptions{StreamID: id})
		wantRejection(t, err, 2400)
	}
	if n := l.Stats().Conclusions; n != 0 {
		t.Errorf("%d CONCLUSIONs forwarded", n)
	}
}

// A caller without a stream ID gets SRS's default stream, on the same backend as the callers
// that name it.
func TestCase13MissingStreamID(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	named := wantRoute(t, c.relay, srttest.CallerOptions{StreamID: "live/livestream"}, defaultStream, "player")
	for what, o := range map[string]srttest.CallerOptions{
		"no SID":           {},
		"SID without flag": {StreamID: "live/other", OmitConfigFlag: true},
		"HSv4":             {Version: 4, StreamID: "live/other"},
	} {
		s := wantRoute(t, c.relay, o, defaultStream, "publisher")
		if c.backendOf(s) != c.backendOf(named) {
			t.Errorf("%s: not on the backend of the default stream", what)
		}
		echo(t, s, 3)
	}
}

// An HSv4 caller, which cannot send a stream ID, is relayed.
func TestHSv4CallerTakesDefaultRoute(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s := wantRoute(t, c.relay, srttest.CallerOptions{Version: 4}, defaultStream, "publisher")
	conn, _ := connectionOf(t, s, c.backends...)
	if conn.Version != 4 || len(conn.Conclusion) != wire.HandshakeSize || len(s.Seen().Response) != wire.HandshakeSize {
		t.Errorf("version %d of %d bytes, response of %d bytes", conn.Version, len(conn.Conclusion), len(s.Seen().Response))
	}
	echo(t, s, 10)
}

func TestCase14OtherForms(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	for id, want := range map[string][2]string{
		"live/livestream":          {defaultStream, "player"},
		"livestream":               {defaultStream, "player"},
		"#!::h=live/x,m=publish":   {"__defaultVhost__/live/x", "publisher"},
		"#!::h=v.com/live/x":       {"v.com/live/x", "player"},
		"live/livestream?secret=a": {defaultStream, "player"},
	} {
		wantRoute(t, r, srttest.CallerOptions{StreamID: id}, want[0], want[1])
	}
}

func TestCase15KeyInsideAnotherWord(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	const key = "__defaultVhost__/live/a"
	publisher := wantRoute(t, c.relay, srttest.CallerOptions{StreamID: "#!::user=x,r=live/a,m=publish"}, key, "publisher")
	player := wantRoute(t, c.relay, srttest.CallerOptions{StreamID: "live/a"}, key, "player")
	if c.backendOf(publisher) != c.backendOf(player) {
		t.Error("publisher and player are on two backends")
	}
}

// wantMeeting dials a publisher, one of another stream, and players of the
// first by these stream IDs: key is that of the publisher and of the players,
// and they meet on one of two backends, the other stream on the other.
func (c cluster) wantMeeting(publishes, other, key string, plays ...string) {
	c.t.Helper()
	publisher := wantRoute(c.t, c.relay, srttest.CallerOptions{StreamID: publishes}, key, "publisher")
	if c.backendOf(mustDial(c.t, c.addr, srttest.CallerOptions{StreamID: other})) == c.backendOf(publisher) {
		c.t.Error("two streams are on one of two backends")
	}
	for _, id := range plays {
		player := wantRoute(c.t, c.relay, srttest.CallerOptions{StreamID: id}, key, "player")
		if c.backendOf(publisher) != c.backendOf(player) {
			c.t.Errorf("player %q is not on the publisher's backend", id)
		}
	}
}

// Sessions spread over backends, but not those of one stream, however it is
// written.
func TestCase16PublisherAndPlayerMeet(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	const key = "__defaultVhost__/live/show"
	c.wantMeeting("#!::r=show,m=publish", "#!::r=live/other,m=publish", key,
		"#!::r=live/show", "show", "live/show", "#!::h=live/show,m=request", "#!::r=live/show.flv")
}

func TestCase17LastStreamIDWins(t *testing.T) {
	t.Parallel()
	r := startRelay(t, backendAt(startEcho(t).Addr()))
	wantRoute(t, r, srttest.CallerOptions{StreamID: "live/first", SecondStreamID: "live/second"},
		"__defaultVhost__/live/second", "player")
}

// A length that overflows 16 bits when taken for bytes, and others that no
// stream ID has.
func TestCase18ImpossibleStreamIDLength(t *testing.T) {
	t.Parallel()
	l := startEcho(t)
	r := startRelay(t, backendAt(l.Addr()))
	for _, words := range []uint16{0x4001, 0xFFFF, 512/4 + 1, 0} {
		ext := wire.AppendFeatures(nil, wire.BlockHSReq, wire.Features{Version: 0x010501, Flags: 0xBF})
		ext = append(ext, 0, byte(wire.BlockSID), byte(words>>8), byte(words))
		ext = append(ext, make([]byte, min(4*int(words), 1024))...)
		_, err := tryDial(t, r.addr, srttest.CallerOptions{Extensions: ext, Flags: wire.FlagHSReq | wire.FlagConfig})
		wantRejection(t, err, 2400)
	}
	if n := l.Stats().Conclusions; n != 0 {
		t.Errorf("%d CONCLUSIONs forwarded", n)
	}
}

// MediaMTX's own form: publishers and players of one path reach the same backend, whatever
// their credentials and form, and no password is shown.
func TestMediaMTXPublisherAndPlayerMeet(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	const key = "__defaultVhost__/live/show"
	c.wantMeeting("publish:live/show:joe:s3cret", "publish:live/other", key,
		"read:live/show", "read:live/show:ann:s3cret:x=y", "read:show", "#!::r=live/show,m=request", "live/show")
	for _, path := range []string{"/api/v1/sessions", "/api/v1/streams", "/api/v1/resolve?streamid=publish:live/show:joe:s3cret", "/metrics"} {
		if _, body := c.relay.call(http.MethodGet, path, ""); strings.Contains(body, "s3cret") {
			t.Errorf("%s shows a password:\n%s", path, body)
		}
	}
}
