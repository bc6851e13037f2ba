package redis

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

// flood fills Redis with n well-formed entries of servers that do not exist,
// listed in the array of SRS's proxy.
func (s *server) flood(t *testing.T, n int) {
	t.Helper()
	p := s.Pipeline()
	array := make([]string, 0, n)
	for i := range n {
		key, text := proxied(fmt.Sprintf("vid-%05d", i), 1+i)
		text = strings.Replace(text, `"ip":"127.0.0.1"`, fmt.Sprintf(`"ip":"127.0.0.%d"`, 2+i%200), 1)
		p.Set(t.Context(), key, text, time.Hour)
		p.SAdd(t.Context(), setKey, key)
		array = append(array, key)
	}
	text, err := json.Marshal(array)
	must(t, err)
	p.Set(t.Context(), arrayKey, text, 0)
	_, err = p.Exec(t.Context())
	must(t, err)
}

// rounds is how many times relays have read which servers there are.
func (s *server) rounds(t *testing.T) int {
	t.Helper()
	return calls(t, s, "sscan", "calls")
}

// 20,000 entries are not all learnt: no more than the cap, in rounds that read
// no more than their share, and what is real is still found and used.
func TestFloodOfEntriesIsBounded(t *testing.T) {
	t.Parallel()
	began := time.Now()
	s := startRedis(t)
	s.flood(t, 20_000)
	r := open(t, at(s.addr)).ready()
	count := func() int { return len(r.reg.Snapshot().Backends) }
	until(t, "the places to be taken", func() bool { return count() >= backend.MaxRegistered })
	own := r.register("mine", 64000, "19351")
	gets, rounds := calls(t, s, "getrange", "calls"), s.rounds(t)
	until(t, "five rounds", func() bool { return s.rounds(t) >= rounds+5 })
	n := s.rounds(t) - rounds
	if reads := calls(t, s, "getrange", "calls") - gets; reads > (n+1)*(maxReads+1) {
		t.Errorf("%d reads in %d rounds", reads, n)
	}
	if got := count(); got > backend.MaxRegistered {
		t.Errorf("%d backends", got)
	}
	r.register("mine", 64000, "19351") // its next heartbeat: a busy machine takes longer than one is good for
	if got := r.stream("k"); got.ID != own {
		t.Errorf("%+v, want %s", got, own)
	}
	until(t, "its own entry to be written", func() bool { return s.Exists(t.Context(), serverKey(own)).Val() == 1 })
	if ok, _, detail := r.State(); !ok {
		t.Errorf("the flood counts as an outage: %s", detail)
	}
	if n, most := r.log.count("servers that cannot be used"), 1+int(time.Since(began)/logInterval); n < 1 || n > most {
		t.Errorf("told %d times, want once, and %d times at most", n, most)
	}
	r.Close()
	if n := len(r.Balancer.cache.entries); n > maxEntries {
		t.Errorf("%d entries kept", n)
	}
}

// Values of 10 MB, of other types, and that are not JSON, at every key that the relay reads:
// each costs little, and one line is logged.
func TestRedisThatLies(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	long := strings.Repeat("x", 10<<20)
	good, text := proxied("vid-good", 10081)
	must(t, s.Set(t.Context(), arrayKey, `["`+good+`","srs-proxy-server:long","srs-proxy-server:list","`+long+`"]`, 0).Err())
	must(t, s.Set(t.Context(), good, text, time.Minute).Err())
	must(t, s.Set(t.Context(), "srs-proxy-server:long", long, 0).Err())
	must(t, s.LPush(t.Context(), "srs-proxy-server:list", "x").Err())
	must(t, s.Set(t.Context(), setKey, "no set", 0).Err())
	must(t, s.Set(t.Context(), urlPrefix+"long", long, 0).Err())
	must(t, s.Set(t.Context(), urlPrefix+"points", "srs-proxy-server:long", 0).Err())
	r := open(t, at(s.addr)).ready()
	id := r.known("vid-good-k3j9x2ab-4321").ID
	for _, key := range []string{"long", "points"} {
		if got := r.stream(key); got.ID != id {
			t.Errorf("%s: %+v", key, got)
		}
		if got := s.Get(t.Context(), urlPrefix+key).Val(); got != good {
			t.Errorf("%s is at %.60s", key, got)
		}
	}
	sent := netOutput(t, s)
	rounds := s.rounds(t)
	until(t, "three rounds", func() bool { return s.rounds(t) >= rounds+3 })
	sent = netOutput(t, s) - sent
	if n := s.rounds(t) - rounds; sent > (n+1)<<20 {
		t.Errorf("%d bytes read in %d rounds", sent, n)
	}
	if ok, _, detail := r.State(); !ok {
		t.Errorf("counts as an outage: %s", detail)
	}
	if n := r.log.count("servers that cannot be used"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

// netOutput is how many bytes a server has sent.
func netOutput(t *testing.T, s *server) (n int) {
	t.Helper()
	for line := range strings.Lines(s.Info(t.Context(), "stats").Val()) {
		if _, err := fmt.Sscanf(line, "total_net_output_bytes:%d", &n); err == nil {
			return n
		}
	}
	t.Fatal("Redis does not say how much it has sent")
	return 0
}

// A stale entry that names the relay's own address is no backend, neither by
// the index nor by a stream that is bound to it; nor is a loopback address that
// another host may have written.
func TestOwnEntryIsNoBackend(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	self, text := proxied("vid-self", 20081)
	good, other := proxied("vid-good", 10081)
	r := open(t, at(s.addr))
	r.reg.SetOwnAddrs(netip.MustParseAddrPort("0.0.0.0:20081"))
	s.write(t, [2]string{self, text}, [2]string{good, other})
	must(t, s.Set(t.Context(), urlPrefix+"k", self, 0).Err())
	id := r.ready().known("vid-good-k3j9x2ab-4321").ID
	if got := r.stream("k"); got.ID != id {
		t.Errorf("%+v", got)
	}
	if n := len(r.reg.Snapshot().Backends); n != 1 {
		t.Errorf("%d backends", n)
	}
	if n := r.log.count("is the relay itself"); n != 1 {
		t.Errorf("told %d times", n)
	}
}

func TestLoopbackOfAnotherHost(t *testing.T) {
	_, text := proxied("vid-good", 10081)
	r, err := parseRecord(text)
	must(t, err)
	if _, err := r.backend(time.Now(), true); err == nil {
		t.Error("a loopback address from another host was taken")
	}
	if _, err := r.backend(time.Now(), false); err != nil {
		t.Error(err)
	}
	for want, addrs := range map[bool][]string{
		true:  {"127.0.0.1:6379", "[::1]:6379", "localhost:6379"},
		false: {"127.0.0.1:6379", "redis.example.com:6379"},
	} {
		if got := (Servers{Addrs: addrs}).local(); got != want {
			t.Errorf("%v: %v", addrs, got)
		}
	}
}
