//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"srtrelay/api/answer"
	"srtrelay/internal/srttest"
)

// meeting is a stream that is asked for at several relays at the same time.
type meeting struct {
	key      string
	sessions []*srttest.Session // one for each relay
	errs     []error
}

// meet has the publisher of each of n new streams dial the first relay, and a player every
// other one, all at the same time. The callers give up after 3 s.
func meet(t *testing.T, name string, n int, relays ...*relay) []*meeting {
	t.Helper()
	ports := make([]*srttest.CallerPort, len(relays))
	for k := range relays {
		ports[k] = openPort(t, loopback)
	}
	ctx := patiently(t)
	all := make([]*meeting, n)
	turn := make(chan struct{}, dialsAtOnce/2)
	var dials sync.WaitGroup
	for i := range all {
		stream := fmt.Sprintf("live/%s%04d", name, i)
		m := &meeting{"__defaultVhost__/" + stream, make([]*srttest.Session, len(relays)), make([]error, len(relays))}
		all[i] = m
		for k, r := range relays {
			mode := "publish"
			if k > 0 {
				mode = "request"
			}
			turn <- struct{}{}
			dials.Go(func() {
				defer func() { <-turn }()
				m.sessions[k], m.errs[k] = ports[k].Dial(ctx, r.addr, srttest.CallerOptions{
					StreamID: "#!::r=" + stream + ",m=" + mode,
				})
			})
		}
	}
	dials.Wait()
	return all
}

// inUseSince is since when the relay uses its store; zero if it does not.
func (r *relay) inUseSince() (since time.Time) {
	r.t.Helper()
	var list answer.RelayList
	r.get("/api/v1/cluster", &list)
	if list.SharedState.InUse {
		since = list.SharedState.Since
	}
	return since
}

// meetInUse is meet while all relays use their store. On a busy machine it may take longer to
// answer than they wait, and then they choose alone: other streams try again.
func meetInUse(t *testing.T, n int, relays ...*relay) (met []*meeting) {
	t.Helper()
	since := func() (all []time.Time) {
		for _, r := range relays {
			all = append(all, r.inUseSince())
		}
		return all
	}
	for try := range 5 {
		for _, r := range relays {
			r.awaitInUse()
		}
		before := since()
		met = meet(t, fmt.Sprint("s", try, "-"), n, relays...)
		if slices.EqualFunc(before, since(), time.Time.Equal) {
			break
		}
	}
	return met
}

// checkMet returns how many streams each backend has got, and fails the test
// where somebody did not connect or the callers of one stream are apart.
func checkMet(t *testing.T, all []*meeting, backends ...*srttest.Listener) []int {
	t.Helper()
	owner := map[[2]uint32]int{} // a connection's caller ID and ISN
	for b, l := range backends {
		for _, c := range l.Connections() {
			owner[[2]uint32{c.Conclusion.SocketID(), c.ISN}] = b
		}
	}
	each := make([]int, len(backends))
	for _, m := range all {
		homes := map[int]bool{}
		for k, err := range m.errs {
			if err != nil {
				t.Errorf("%s at relay %d: %v", m.key, k, err)
				continue
			}
			homes[owner[[2]uint32{m.sessions[k].ID(), m.sessions[k].ISN()}]] = true
		}
		if len(homes) > 1 {
			t.Errorf("%s is on %d backends", m.key, len(homes))
		}
		for b := range homes {
			each[b]++
		}
	}
	return each
}

// Two relays that share a Redis: what registers at one is known to both, and
// streams that are asked for at both at the same time are on one backend.
func TestTwoRelaysShareRedis(t *testing.T) {
	t.Parallel()
	const streams = 1000
	s := startStore(t)
	a, b := startRelay(t, append(s.at(), "--policy", "random")...), startRelay(t, append(s.at(), "--policy", "random")...)
	a.awaitShared(1)
	b.awaitShared(1)
	servers, listeners, _ := startServers(t, a, 5)
	b.awaitAlive(servers...)
	for id, l := range b.listing() {
		if l.Source != "shared" {
			t.Errorf("%s, which registered at the other relay, has source %q", id, l.Source)
		}
	}
	met := meetInUse(t, streams, a, b)
	if each := checkMet(t, met, listeners...); slices.Contains(each, 0) {
		t.Errorf("drawn at random, the streams are spread %v", each)
	}
	// What SRS's proxy reads of them.
	at := s.ask("GET", "srs-proxy-url:"+met[0].key)
	if text := s.ask("GET", at); !strings.Contains(text, `"server_id":"vid-`) || !strings.Contains(text, `"srt":["udp://0.0.0.0:`) {
		t.Errorf("%s is at %q: %s", met[0].key, at, text)
	}
	if all := s.ask("GET", "srs-proxy-all-servers"); strings.Count(all, "srs-proxy-server:vid-") != len(servers) {
		t.Errorf("SRS's proxy finds these servers: %s", all)
	}
}

// What SRS's proxy has written is honoured: its servers, and where it has put
// a stream.
func TestEntriesOfSRSProxy(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	var listeners []*srttest.Listener
	var servers []server
	var keys []string
	for i := range 4 {
		l := startMirror(t)
		of := serverAt(i, l.Addr())
		listeners, servers = append(listeners, l), append(servers, of)
		keys = append(keys, "srs-proxy-server:"+of.id())
		s.ask("SET", keys[i], fmt.Sprintf(`{"ip":%q,"device_id":"origin1","server_id":%q,"service_id":%q,"pid":"%d",`+
			`"rtmp":["19351"],"http":["8081"],"api":["19851"],"srt":["udp://0.0.0.0:%d"],"rtc":["udp://0.0.0.0:8001"],`+
			`"update_at":%q}`, l.Addr().Addr(), of.Server.Server, of.Service, of.PID, l.Addr().Port(), time.Now().Format(time.RFC3339Nano)), "EX", "300")
	}
	s.ask("SET", "srs-proxy-all-servers", `["`+strings.Join(keys, `","`)+`"]`)
	s.ask("SET", "srs-proxy-url:__defaultVhost__/live/bound", keys[2])
	r := startRelay(t, append(s.at(), "--policy", "random")...)
	r.awaitAlive(servers...)
	for range 10 {
		c := mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/bound,m=publish"})
		if _, at := connectionOf(t, c, listeners...); at != 2 {
			t.Errorf("SRS's proxy has the stream at server 2, the relay sends it to %d", at)
		}
		must(t, c.SendShutdown())
	}
	if ttl := s.ask("TTL", "srs-proxy-url:__defaultVhost__/live/bound"); ttl != "-1" {
		t.Errorf("SRS's proxy made a binding for ever, now it ends in %s s", ttl)
	}
}

// Redis hangs, dies and comes back empty while streams run through two relays: they lose
// nothing, and players of new streams still reach their publishers, whose bindings are
// written back.
func TestRedisAwayUnderLoad(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	backends := []*srttest.Listener{startMirror(t), startMirror(t), startMirror(t)}
	args := s.at()
	for _, l := range backends {
		args = append(args, backendAt(l.Addr()))
	}
	a, b := startRelay(t, args...), startRelay(t, args...)
	var flows []*flow
	for _, r := range []*relay{a, b} {
		r.awaitReadiness(http.StatusOK, "")
		for i := range 5 {
			o := srttest.CallerOptions{StreamID: fmt.Sprintf("#!::r=live/flow%d,m=publish", i)}
			flows = append(flows, keepFlowing(t, mustDial(t, r.addr, o)))
		}
	}
	s.signal(syscall.SIGSTOP)
	met := meet(t, "hung", 20, a, b)
	for _, r := range []*relay{a, b} {
		r.awaitReadiness(http.StatusOK, "redis is away")
	}
	s.kill()
	met = append(met, meet(t, "gone", 20, a, b)...)
	s.start()
	for _, r := range []*relay{a, b} {
		r.awaitInUse()
		if n := len(r.log("shared state away, going on with what is known")); n > 2 { // of the start, and of the outage
			t.Errorf("the log tells of one outage %d times", n)
		}
	}
	met = append(met, meet(t, "back", 20, a, b)...)
	checkMet(t, met, backends...)
	for _, m := range met[20:40] {
		var at string
		if !eventually(func() bool {
			at = s.ask("GET", "srs-proxy-url:"+m.key)
			return strings.HasPrefix(at, "srs-proxy-server:")
		}) {
			t.Fatalf("%s, of the outage, is not written back: %q", m.key, at)
		}
	}
	for _, f := range flows {
		f.finish(backends...)
	}
	for _, r := range []*relay{a, b} {
		r.awaitInUse()
	}
}

// Answers that take 3 s hold up no stream that runs, and a new one no longer
// than its caller waits.
func TestSlowRedis(t *testing.T) {
	t.Parallel()
	s := startStore(t)
	line := startDelayLine(t, s.addr)
	l := startMirror(t)
	r := startRelay(t, "--state", "redis", "--redis", "redis://"+line.listener.Addr().String()+"/0", backendAt(l.Addr()))
	r.awaitReadiness(http.StatusOK, "")
	f := keepFlowing(t, mustDial(t, r.addr, srttest.CallerOptions{StreamID: "#!::r=live/flow,m=publish"}))
	line.by.Store(int64(3 * time.Second))
	checkMet(t, meet(t, "slow", 50, r), l)
	r.awaitReadiness(http.StatusOK, "redis is away")
	line.by.Store(0)
	r.awaitInUse()
	checkMet(t, meet(t, "fast", 50, r), l)
	f.finish(l)
}

// A relay starts without its Redis, is not ready, and becomes so.
func TestStartWithoutRedis(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := startMirror(t)
	r := startRelay(t, append(s.at(), backendAt(l.Addr()))...)
	r.awaitReadiness(http.StatusServiceUnavailable, "redis")
	checkMet(t, meet(t, "early", 5, r), l) // whoever comes all the same
	s.start()
	r.awaitReadiness(http.StatusOK, `"ready":true`)
}
