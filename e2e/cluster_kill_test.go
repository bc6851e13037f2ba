//go:build linux

package e2e

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// again starts an origin anew at the address of one that is gone.
func (o *origin) again() *origin {
	o.t.Helper()
	path, err := originProgram()
	must(o.t, err)
	next := &origin{t: o.t, dir: o.t.TempDir()}
	next.program = startProgram(o.t, path, "-o", next.dir, o.addr.Addr().String(), strconv.Itoa(int(o.addr.Port())))
	listening := next.awaitLine("listening", func(map[string]string) bool { return true })
	if next.addr = netip.MustParseAddrPort(listening["address"]); next.addr != o.addr {
		o.t.Fatalf("origin at %v, want %v", next.addr, o.addr)
	}
	return next
}

// kill ends the process as kill -9 does, and returns when.
func (o *origin) kill() time.Time {
	o.t.Helper()
	at := time.Now()
	must(o.t, o.cmd.Process.Kill())
	return at
}

// sendUntilDone sends at the pace of a stream until the session has ended, and
// returns when that was.
func sendUntilDone(s *srttest.Session) time.Time {
	tick := time.NewTicker(4 * flowEvery)
	defer tick.Stop()
	payload := make([]byte, 188)
	for {
		select {
		case <-s.Done():
			return time.Now()
		case <-tick.C:
			_ = s.SendData(payload) // an error is for who awaits the end
		}
	}
}

// survivor is a caller whose backend is killed: when it got the SHUTDOWN, and when the first
// packet from its next backend came.
type survivor struct {
	stream     string
	s, next    *srttest.Session
	told, back time.Time
	err        error
}

// live sends until the session is ended from the other side, connects again at
// once, and sends until that backend answers.
func (v *survivor) live(t *testing.T, r *relay) {
	v.told = sendUntilDone(v.s)
	ctx := patiently(t)
	if v.next, v.err = v.s.Port().Dial(ctx, r.addr, srttest.CallerOptions{StreamID: v.stream}); v.err != nil {
		return
	}
	if v.err = v.next.SendData(make([]byte, 188)); v.err != nil {
		return
	}
	v.err = v.next.Await(ctx, func() bool { c := v.next.Counters(); return c.Acks+c.Keepalives > 0 })
	v.back = time.Now()
}

// kill -9 of a server under fifty streams: all callers get a SHUTDOWN and connect to other
// servers. The server returns under a new name and gets streams.
func TestBackendKilledUnder50Streams(t *testing.T) {
	t.Parallel()
	const streams = 50
	at := freeaddr.New() // nobody else's while the server is away
	victim := startOriginAt(t, nil, at.Addr().String(), at.Port())
	r := startRelay(t, "--shards", "2", "--backend-silence", "60s", "--idle-timeout", "60s")
	dead := serverAt(0, victim.addr)
	h := startHeartbeats(t, r, dead)
	r.awaitAlive(dead)
	all := make([]*survivor, streams)
	for i := range all {
		all[i] = &survivor{stream: fmt.Sprintf("#!::r=live/s%02d,m=publish", i)}
		all[i].s = mustDial(t, r.addr, srttest.CallerOptions{StreamID: all[i].stream})
	}
	others := []*origin{startOrigin(t, "127.0.0.1"), startOrigin(t, "127.0.0.1")}
	left := map[string]bool{}
	for i, o := range others {
		s := serverAt(1+i, o.addr)
		left[s.id()] = true
		h.add(r, s)
		r.awaitAlive(s)
	}
	var living sync.WaitGroup
	for _, v := range all {
		living.Go(func() { v.live(t, r) })
	}
	victim.awaitReceived("live/s00", 1)
	h.stop(dead)
	killed := victim.kill()
	living.Wait()

	checkSurvivors(t, r, all, killed, dead, left)
	// The restarted process: the same address, a new service and pid.
	victim.again()
	born := dead
	born.Service, born.PID = "restart1", 5000
	h.add(r, born)
	r.awaitAlive(born)
	if _, has := r.listing()[dead.id()]; has {
		t.Errorf("%s is still listed beside %s", dead.id(), born.id())
	}
	s := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/new,m=publish"})
	if got := r.begunBy(s).text("backend"); got != born.id() {
		t.Errorf("a new stream goes to %s, want the restarted and idle %s", got, born.id())
	}
}

// checkSurvivors holds what the callers of a killed server saw against what
// they were to see, and reports their times.
func checkSurvivors(t *testing.T, r *relay, all []*survivor, killed time.Time, dead server, left map[string]bool) {
	t.Helper()
	var told, back []time.Duration
	for _, v := range all {
		if v.err != nil {
			t.Fatalf("%s did not come back: %v\n%s", v.stream, v.err, r.tail())
		}
		if n := v.s.Counters().Shutdowns; n != 1 {
			t.Errorf("%s got %d SHUTDOWNs", v.stream, n)
		}
		if was := r.begunBy(v.s).text("backend"); was != dead.id() {
			t.Errorf("%s was on %s, not on the killed server", v.stream, was)
		}
		if is := r.begunBy(v.next).text("backend"); !left[is] {
			t.Errorf("%s came back on %s", v.stream, is)
		}
		told, back = append(told, v.told.Sub(killed)), append(back, v.back.Sub(killed))
	}
	if causes := endings(r, len(all)); causes["backend lost"] != len(all) {
		t.Errorf("causes of the ends: %v", causes)
	}
	slices.Sort(told)
	slices.Sort(back)
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	t.Logf("after kill -9: told within %v (median) to %v, first packet of the next backend after %v to %v",
		ms(told[len(told)/2]), ms(told[len(told)-1]), ms(back[len(back)/2]), ms(back[len(back)-1]))
	if median := told[len(told)/2]; median > patience/2 { // far less than --backend-silence
		t.Errorf("half of the callers waited %v and more to be told", median)
	}
}

// A real publisher that reconnects by itself goes on at another origin.
func TestRealPublisherSurvivesItsOrigin(t *testing.T) {
	t.Parallel()
	const resource = "live/survivor"
	origins := []*origin{startOrigin(t, "127.0.0.1"), startOrigin(t, "127.0.0.1")}
	r := startRelay(t, "--shards", "2")
	servers := []server{serverAt(0, origins[0].addr), serverAt(1, origins[1].addr)}
	h := startHeartbeats(t, r, servers...)
	r.awaitAlive(servers...)
	pub := startProgram(t, need.Tool(t, "stdbuf"), "-i0", "-o0", need.Tool(t, "srt-live-transmit"), "-a:yes", "-chunk:1316",
		"-buffering:1", "file://con", srtURL(r.addr, "#!::r="+resource+",m=publish"))
	if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
		t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
	}
	stop := make(chan struct{})
	var feeding sync.WaitGroup
	feeding.Go(func() {
		payload := noise(1, 1)
		tick := time.NewTicker(flowEvery)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				if _, err := pub.stdin.Write(payload); err != nil {
					t.Errorf("the publisher has ended: %v", err)
					return
				}
			}
		}
	})
	first := r.home(resource)
	home, away := origins[0], origins[1]
	if first == servers[1].id() {
		home, away = away, home
	}
	home.awaitReceived(resource, 100*messageSize)
	h.stop(servers[slices.IndexFunc(servers, func(s server) bool { return s.id() == first })])
	killed := home.kill()
	if n := len(away.awaitReceived(resource, 1)); n == 0 {
		t.Errorf("nothing of the stream reaches the other origin\n%s\n%s", pub.stderr.bytes(), r.tail())
	}
	t.Logf("srt-live-transmit: %v from kill -9 to the first packet at the other origin", time.Since(killed).Round(time.Millisecond))
	if n := len(away.awaitReceived(resource, 200*messageSize)); n < 200*messageSize {
		t.Errorf("the other origin got %d bytes", n)
	}
	close(stop)
	feeding.Wait()
	if causes := endings(r, 1); causes["backend lost"] != 1 {
		t.Errorf("causes of the ends: %v", causes)
	}
}
