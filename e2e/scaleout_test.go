//go:build linux

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"srtrelay/bench/lab"
	"srtrelay/internal/need"
	"srtrelay/internal/srttest"
)

// scaleOut is three relays behind one address, on one Redis:
//
//	callers 10.77.0.1 -- 10.77.0.2 router 10.81.0.1 -- 10.81.0.2 relay 1, lo 10.99.0.1
//	                       Redis, origin  10.82.0.1 -- 10.82.0.2 relay 2, lo 10.99.0.1
//	                                      10.83.0.1 -- 10.83.0.2 relay 3, lo 10.99.0.1
//
// The router spreads flows without state: nft marks a datagram by a hash of its source, and the
// mark chooses the next hop. The relays answer callers from the shared address directly.
type scaleOut struct {
	*kernelLab
	store  *store
	origin *origin
	nodes  []*lab.Namespace
	relays relayList
	flows  [scaleOutRelays]int // of spread
	ports  map[uint16]int      // of steer
}

const scaleOutRelays = 3

// sharedAddr is where callers reach all relays.
var sharedAddr = netip.MustParseAddrPort("10.99.0.1:20080")

// spreads of the router: which relay gets which of the flows 0, 1 and 2. An INDUCTION always
// goes to the next relay but one of the rest of its flow, if there are three.
var (
	allThree     = [scaleOutRelays]int{1, 2, 3}
	withoutThird = [scaleOutRelays]int{1, 2, 1}
	turned       = [scaleOutRelays]int{2, 3, 1}
)

func openScaleOut(t *testing.T, originFlags ...string) *scaleOut {
	t.Helper()
	need.Root(t, "relays in namespaces")
	need.Tools(t, "ip", "nft", "redis-server", "redis-cli")
	l, err := lab.Open()
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &scaleOut{kernelLab: &kernelLab{l, t}}
	router := l.Origin
	must(t, router.SetSysctl("net.ipv4.ip_forward", "1"))
	s.ip(l.Callers, "route add", sharedAddr.Addr().String(), "via", origin4.String())
	for i := range scaleOutRelays {
		n := s.behind(router, fmt.Sprintf("relay%d", i+1), 81+i)
		s.ip(n, "addr add", sharedAddr.Addr().String()+"/32 dev lo")
		s.ip(n, fmt.Sprintf("route add default via 10.%d.0.1", 81+i))
		s.ip(router, fmt.Sprintf("rule add fwmark %d lookup %d", i+1, 101+i))
		s.ip(router, fmt.Sprintf("route add %v via 10.%d.0.2 table %d", sharedAddr.Addr(), 81+i, 101+i))
		s.nodes = append(s.nodes, n)
	}
	s.store = &store{t: t, addr: at(origin4, 6379)}
	s.store.proc = s.program(router, need.Tool(t, "redis-server"), "--port", "6379", "--bind", "0.0.0.0",
		"--protected-mode", "no", "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if !s.store.proc.stdout.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("Ready to accept")) }) {
		t.Fatalf("redis-server does not start:\n%s", s.store.proc.stdout.bytes())
	}
	s.origin = startOriginBy(t, []string{need.Tool(t, "ip"), "netns", "exec", router.Name}, origin4.String(), originFlags...)
	s.spread(allThree)
	for i, n := range s.nodes {
		args := append(s.store.at(), "--listen", sharedAddr.String(), "--name", fmt.Sprintf("relay-%d", i+1), "--shards", "2",
			"--cluster-listen", s.clusterAddr(i), backendAt(s.origin.addr))
		s.relays = append(s.relays, newProcess(t, n, []string{binary}, args...))
	}
	for _, r := range s.relays {
		r.awaitRelaying()
		r.awaitShared(1)
		r.awaitLog("backend alive", func(logLine) bool { return true })
	}
	return s
}

func (s *scaleOut) clusterAddr(i int) string { return fmt.Sprintf("10.%d.0.2:20081", 81+i) }

// redis asks Redis, as an operator would.
func (s *scaleOut) redis(command string) string {
	s.t.Helper()
	out, err := s.Origin.Run(patiently(s.t), append([]string{"redis-cli"}, strings.Fields(command)...)...)
	must(s.t, err)
	return strings.TrimSpace(out)
}

// awaitAcquainted waits until each relay knows the others.
func (s *scaleOut) awaitAcquainted() {
	s.t.Helper()
	var addresses []string
	for i := range s.relays {
		addresses = append(addresses, s.clusterAddr(i))
	}
	awaitAcquainted(s.t, func(words ...string) string { return s.redis(strings.Join(words, " ")) }, addresses...)
}

// awaitAcquainted waits until relays with these cluster addresses know each other: each has
// renewed its entry since all have one. redis asks Redis.
func awaitAcquainted(t *testing.T, redis func(words ...string) string, addresses ...string) {
	t.Helper()
	beats := func() (all []string) {
		for _, at := range addresses {
			all = append(all, redis("HGET", "srtrelay-forward", at))
		}
		return all
	}
	first := beats()
	if !eventually(func() bool {
		renewed := 0
		for i, now := range beats() {
			switch {
			case slices.Contains(first, ""):
				first = beats()
			case now != first[i]:
				renewed++
			}
		}
		return renewed == len(addresses)
	}) {
		t.Fatalf("entries of relays: %q", beats())
	}
}

// awaitPublished waits until Redis has so many sessions of all relays. It has handshakes too,
// by callers instead of by socket IDs, for ten seconds.
func (s *scaleOut) awaitPublished(n int) {
	s.t.Helper()
	published := func() (sum int) {
		for i := range s.relays {
			for field := range strings.FieldsSeq(s.redis("HKEYS srtrelay-sessions:" + s.clusterAddr(i))) {
				if !strings.Contains(field, ":") {
					sum++
				}
			}
		}
		return sum
	}
	if !eventually(func() bool { return published() == n }) {
		s.t.Fatalf("%d sessions are published, want %d", published(), n)
	}
}

// spread has the router send each third of the flows to a relay, from now on.
func (s *scaleOut) spread(to [scaleOutRelays]int) {
	s.t.Helper()
	s.flows = to
	s.routeFlows()
}

// steer has the router send flows from these ports to relays, by their numbers, whatever their
// hash is.
func (s *scaleOut) steer(ports map[uint16]int) {
	s.t.Helper()
	s.ports = ports
	s.routeFlows()
}

// routeFlows replaces the router's rules.
func (s *scaleOut) routeFlows() {
	s.t.Helper()
	flow := fmt.Sprintf("ip daddr %v udp dport %d", sharedAddr.Addr(), sharedAddr.Port())
	hash := fmt.Sprintf("jhash ip saddr . udp sport mod %d seed 7 map", scaleOutRelays)
	var steered strings.Builder
	for port, relay := range s.ports {
		fmt.Fprintf(&steered, `
		%s udp sport %d meta mark set %d return`, flow, port, relay)
	}
	file := s.t.TempDir() + "/spread.nft"
	text := fmt.Sprintf(`table ip spread {}
delete table ip spread
table ip spread {
	chain pre {
		type filter hook prerouting priority mangle;%[6]s
		%[1]s @th,160,32 0 udp length 72 meta mark set %[2]s { 0 : %[4]d, 1 : %[5]d, 2 : %[3]d } return
		%[1]s meta mark set %[2]s { 0 : %[3]d, 1 : %[4]d, 2 : %[5]d }
	}
}
`, flow, hash, s.flows[0], s.flows[1], s.flows[2], steered.String())
	must(s.t, os.WriteFile(file, []byte(text), 0o600))
	s.run(s.Origin, "nft", "-f", file)
}

// series is the sum of a family's series with these labels, of one relay.
func (r *relay) series(family, labels string) (sum float64) {
	r.t.Helper()
	res, err := r.client().Get(r.api + "/metrics")
	must(r.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(r.t, err)
	pattern := "(?m)^" + regexp.QuoteMeta(family) + regexp.QuoteMeta(labels) + `(?:\{[^}]*\})? (\S+)$`
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(text, -1) {
		n, err := strconv.ParseFloat(string(m[1]), 64)
		must(r.t, err)
		sum += n
	}
	return sum
}

// chatter is callers that send all the time.
type chatter struct {
	s        *scaleOut
	sessions []*srttest.Session
	stop     chan struct{}
	sending  sync.WaitGroup
	failed   atomic.Int64
}

// chat connects n publishers and has each send 20 datagrams a second until the test ends.
func (s *scaleOut) chat(n int) *chatter {
	s.t.Helper()
	c := &chatter{s: s, stop: make(chan struct{})}
	for i := range n {
		session, err := s.port(callers4).Dial(patiently(s.t), sharedAddr, srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/chat%d,m=publish", i)})
		if err != nil {
			s.t.Fatalf("caller %d: %v", i, err)
		}
		c.sessions = append(c.sessions, session)
	}
	c.sending.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for payload := make([]byte, 1316); ; {
			select {
			case <-c.stop:
				return
			case <-tick.C:
			}
			for _, session := range c.sessions {
				if session.SendData(payload) != nil {
					c.failed.Add(1)
				}
			}
		}
	})
	s.t.Cleanup(func() { close(c.stop); c.sending.Wait() })
	return c
}

// alive waits until the origin has acknowledged more of each session.
func (c *chatter) alive(what string) {
	c.s.t.Helper()
	before := make([]uint64, len(c.sessions))
	for i, session := range c.sessions {
		before[i] = session.Counters().Acks
	}
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for i, session := range c.sessions {
		err := session.Await(limited, func() bool { return session.Counters().Acks > before[i]+10 })
		select {
		case <-session.Done():
			c.s.t.Errorf("%s: session %d has ended", what, i)
		default:
			if err != nil {
				c.s.t.Errorf("%s: session %d gets no more ACKs: %v", what, i, err)
			}
		}
	}
}

// Three relays behind one address, whose router sends flows elsewhere in mid-stream, and
// back: handshakes that are split between two of them succeed, no session dies, and without
// Redis what is known goes on.
func TestScaleOut(t *testing.T) {
	t.Parallel()
	start := time.Now()
	began := func(what string) { t.Logf("%5.1f s: %s", time.Since(start).Seconds(), what) }
	s := openScaleOut(t, "-l", "1000")
	began("relays are up")
	streams, players := map[string]*stream{}, map[string]func() []byte{}
	transmit := func(from, to string) *program {
		return s.program(s.Callers, need.Tool(t, "stdbuf"), "-i0", "-o0", need.Tool(t, "srt-live-transmit"), "-a:no", "-chunk:1316", "-buffering:1", from, to)
	}
	var flows sync.WaitGroup
	done := make(chan struct{})
	for i := range 3 {
		resource := fmt.Sprintf("live/real%d", i)
		play := transmit(srtURL(sharedAddr, "#!::r="+resource+",m=request", "latency=1000"), "file://con")
		s.relays.awaitSum("the player", "established", uint64(2*i+1))
		pub := transmit("file://con", srtURL(sharedAddr, "#!::r="+resource+",m=publish", "latency=1000"))
		if !pub.stderr.await(patience, func(b []byte) bool { return bytes.Contains(b, []byte("SRT target connected")) }) {
			t.Fatalf("the publisher did not connect:\n%s", pub.stderr.bytes())
		}
		st := &stream{pub: pub, received: func() int { return s.origin.size(resource) }, content: func() []byte { return s.origin.received(resource) }}
		streams[resource], players[resource] = st, play.stdout.bytes
		flows.Go(func() {
			if err := st.flowUntil(done, uint64(i)); err != nil {
				t.Errorf("%s: %v", resource, err)
			}
		})
	}
	began("real streams run")
	chatter := s.chat(48)
	began("all sessions run")
	all := s.relays.sum("established")
	for i, r := range s.relays {
		if r.stats()["established"] == 0 || r.stats()["inductions"] == 0 {
			t.Errorf("relay %d has no part of the sessions", i+1)
		}
	}
	chatter.alive("at the start")
	s.awaitAcquainted()
	s.awaitPublished(int(all))
	began("the flows move")

	for _, step := range []struct {
		name string
		to   [scaleOutRelays]int
	}{{"a relay leaves", withoutThird}, {"it comes back", allThree}, {"all flows move", turned}} {
		before := s.relays.sum("passed_on")
		s.spread(step.to)
		chatter.alive(step.name)
		began(step.name)
		if passed := s.relays.sum("passed_on") - before; (passed == 0) != (step.to == allThree) && step.to != allThree {
			t.Errorf("%s: %d datagrams passed on", step.name, passed)
		}
	}
	s.store.kill()
	for _, r := range s.relays {
		r.awaitLog("shared state away, going on with what is known", func(logLine) bool { return true })
	}
	chatter.alive("without Redis")
	s.spread(allThree)
	chatter.alive("without Redis, at home")
	began("without Redis")

	close(done)
	flows.Wait()
	for resource, st := range streams {
		st.played(t, resource, players[resource])
	}
	for i, r := range s.relays {
		if ended := r.log("session ended"); len(ended) > 0 {
			t.Errorf("relay %d: sessions have ended: %v", i+1, ended)
		}
		st := r.stats()
		t.Logf("relay %d: %d sessions, %d inductions, passed on %d, taken %v; looked up %v, found %v, away %v; dropped: foreign_caller %d, pass_limit %d, between relays %v",
			i+1, st["established"], st["inductions"], st["passed_on"], r.series("srtrelay_relays_received_datagrams_total", ""),
			r.series("srtrelay_relays_lookups_total", ""), r.series("srtrelay_relays_lookups_total", `{result="found"}`), r.series("srtrelay_relays_lookups_total", `{result="away"}`),
			st["foreign_caller"], st["pass_limit"], r.series("srtrelay_relays_dropped_datagrams_total", ""))
	}
	if n := chatter.failed.Load(); n > 0 {
		t.Errorf("%d datagrams could not be sent", n)
	}
	if s.relays.sum("established") != all || slices.ContainsFunc(s.relays, func(r *relay) bool { return r.stats()["reinductions"] > 0 }) {
		t.Error("a caller had to connect again")
	}
}
