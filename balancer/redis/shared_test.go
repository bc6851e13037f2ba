package redis

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
	"srtrelay/balancer"
)

// calls returns a count of what a server did with a command.
func calls(t *testing.T, s *server, command, count string) int {
	t.Helper()
	for line := range strings.Lines(s.Info(t.Context(), "commandstats").Val()) {
		if rest, ok := strings.CutPrefix(line, "cmdstat_"+command+":"); ok {
			_, text, _ := strings.Cut(","+rest, ","+count+"=")
			text, _, _ = strings.Cut(text, ",")
			n, err := strconv.Atoi(text)
			must(t, err)
			return n
		}
	}
	return 0
}

// proxied is a server's entry as SRS's proxy writes it, byte for byte.
func proxied(server string, port int) (key, text string) {
	key = "srs-proxy-server:" + server + "-k3j9x2ab-4321"
	return key, fmt.Sprintf(`{"ip":"127.0.0.1","device_id":"origin1","server_id":%q,"service_id":"k3j9x2ab","pid":"4321",`+
		`"rtmp":["19351"],"http":["8081"],"api":["19851"],"srt":["udp://0.0.0.0:%d"],"rtc":["udp://0.0.0.0:8001"],`+
		`"update_at":"2026-01-01T12:00:00.123456789+08:00"}`, server, port)
}

// write does what SRS's proxy does on a heartbeat.
func (s *server) write(t *testing.T, keys ...[2]string) {
	t.Helper()
	var array []string
	for _, k := range keys {
		must(t, s.Set(t.Context(), k[0], k[1], 300*time.Second).Err())
		array = append(array, k[0])
	}
	text, err := json.Marshal(array)
	must(t, err)
	must(t, s.Set(t.Context(), "srs-proxy-all-servers", text, 0).Err())
}

func TestEntriesOfSRSProxyAreHonoured(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	k1, text1 := proxied("vid-one", 10081)
	k2, text2 := proxied("vid-two", 10082)
	s.write(t, [2]string{k1, text1}, [2]string{k2, text2})
	r := open(t, at(s.addr)).ready()

	b := r.known("vid-one-k3j9x2ab-4321")
	if b.Source != backend.SourceShared || b.Addr.String() != "127.0.0.1:10081" || b.Expires.IsZero() || b.Registration.RTMP[0] != "19351" {
		t.Errorf("%+v", b)
	}
	// Bound to a server that has not answered a probe yet: that counts for a while after it
	// was learned, which a busy machine may miss.
	const two = backend.ID("vid-two-k3j9x2ab-4321")
	tries := 0
	until(t, "a stream to be asked for in time", func() bool {
		tries++
		must(t, s.Set(t.Context(), urlPrefix+key(tries), k2, 0).Err())
		r.reg.Remove(two)
		until(t, "it to be learned again", func() bool { return r.backend(two).ID == two })
		added := r.backend(two).Added
		for range 10 {
			got := r.ask(backend.Query{Key: key(tries)})
			switch {
			case time.Since(added) >= probation:
				return false
			case got.ID != two || got.Addr.Port() != 10082:
				t.Fatalf("%+v", got)
			}
		}
		return true
	})
	if ttl := s.TTL(t.Context(), urlPrefix+key(tries)).Val(); ttl != -1 {
		t.Errorf("SRS's proxy made a binding for ever, now it ends in %v", ttl)
	}
	// A server that came after the last look, straight from a stream's entry.
	k3, text3 := proxied("vid-three", 10083)
	must(t, s.Set(t.Context(), k3, text3, 300*time.Second).Err())
	must(t, s.Set(t.Context(), "srs-proxy-url:new", k3, 0).Err())
	if got := r.ask(backend.Query{Key: "new"}); got.Addr.String() != "127.0.0.1:10083" {
		t.Errorf("%+v", got)
	}
	// One that is gone is replaced.
	must(t, s.Set(t.Context(), "srs-proxy-url:gone", "srs-proxy-server:vid-gone-x-1", 0).Err())
	if got := r.ask(backend.Query{Key: "gone"}); s.Get(t.Context(), "srs-proxy-url:gone").Val() != serverKey(got.ID) {
		t.Errorf("%+v", got)
	}
}

// What SRS's proxy cannot have written must not stop the relay.
func TestForeignEntries(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	k, text := proxied("vid-one", 10081)
	s.write(t, [2]string{k, text}, [2]string{"srs-proxy-server:bad", "{"}, [2]string{"srs-proxy-server:x-y-1", text})
	must(t, s.LPush(t.Context(), "srs-proxy-url:list", "x").Err())
	must(t, s.Set(t.Context(), "srs-proxy-url:bad", "srs-proxy-server:bad", 0).Err())
	rtmp := strings.Replace(strings.Replace(text, "vid-one", "vid-rtmp", 1), `"srt":["udp://0.0.0.0:10081"],`, "", 1)
	must(t, s.Set(t.Context(), "srs-proxy-server:vid-rtmp-k3j9x2ab-4321", rtmp, 0).Err())
	must(t, s.Set(t.Context(), "srs-proxy-url:rtmp", "srs-proxy-server:vid-rtmp-k3j9x2ab-4321", 0).Err())

	r := open(t, at(s.addr)).ready()
	r.known("vid-one-k3j9x2ab-4321")
	if n := len(r.reg.Snapshot().Backends); n != 1 {
		t.Errorf("%d backends", n)
	}
	for _, key := range []string{"list", "bad"} {
		if got := r.stream(key); got.ID != "vid-one-k3j9x2ab-4321" {
			t.Errorf("%s: %+v", key, got)
		}
	}
	// A stream at a server without SRT is left to the callers it has, until
	// somebody publishes it by SRT.
	if _, err := r.Pick(t.Context(), backend.Query{Key: "rtmp"}); !errors.Is(err, backend.ErrNone) {
		t.Errorf("a player: %v", err)
	}
	if got := r.stream("rtmp"); got.ID != "vid-one-k3j9x2ab-4321" {
		t.Errorf("a publisher: %+v", got)
	}
	if ok, _, detail := r.State(); !ok || r.log.count("away") != 1 { // "away" of the start
		t.Errorf("an odd key counts as an outage: %s", detail)
	}
}

// What relays write has the fields of SRS's proxy and no others, and the
// index from which it draws lists only what can serve RTMP.
func TestOursCanBeReadBySRSProxy(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 1, at(s.addr))
	id := r.register("abc1234", 10081, "19351")
	noRTMP := r.register("noports", 10082)
	r.ready()
	type srsServer struct { // proxy/internal/lb, SRSServer
		IP        string    `json:"ip"`
		DeviceID  string    `json:"device_id"`
		ServerID  string    `json:"server_id"`
		ServiceID string    `json:"service_id"`
		PID       string    `json:"pid"`
		RTMP      []string  `json:"rtmp"`
		HTTP      []string  `json:"http"`
		API       []string  `json:"api"`
		SRT       []string  `json:"srt"`
		RTC       []string  `json:"rtc"`
		UpdatedAt time.Time `json:"update_at"`
	}
	read := func(key string) (got srsServer) {
		t.Helper()
		text, err := s.Get(t.Context(), key).Bytes()
		must(t, err)
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		if err := d.Decode(&got); err != nil {
			t.Fatalf("%s: %s: %v", key, text, err)
		}
		if ttl := s.TTL(t.Context(), key).Val(); ttl < 20*time.Second || ttl > 34*time.Second {
			t.Errorf("%s lives %v", key, ttl)
		}
		if key != "srs-proxy-server:"+got.ServerID+"-"+got.ServiceID+"-"+got.PID || got.UpdatedAt.IsZero() {
			t.Errorf("%s: %+v", key, got)
		}
		return got
	}
	if got := read(serverKey(id)); got.IP != "127.0.0.1" || got.DeviceID != "origin" || got.RTMP[0] != "19351" || got.SRT[0] != "udp://0.0.0.0:10081" {
		t.Errorf("%+v", got)
	}
	ofStatic := "srs-proxy-server:srtrelay-static-127.0.0.1:30000"
	if got := read(ofStatic); got.IP != "127.0.0.1" || got.SRT[0] != "30000" {
		t.Errorf("%+v", got)
	}
	var array []string
	if err := json.Unmarshal([]byte(s.Get(t.Context(), arrayKey).Val()), &array); err != nil || !slices.Equal(array, []string{serverKey(id)}) {
		t.Errorf("the array lists %q, %v", array, err)
	}
	set := s.SMembers(t.Context(), setKey).Val()
	slices.Sort(set)
	if want := []string{ofStatic, serverKey(id), serverKey(noRTMP)}; !slices.Equal(set, want) {
		t.Errorf("the set lists %q, want %q", set, want)
	}
	// SRS's proxy loses an addition now and then: it comes back.
	must(t, s.Set(t.Context(), arrayKey, `["srs-proxy-server:other"]`, 0).Err())
	until(t, "the array to be mended", func() bool {
		return s.Get(t.Context(), arrayKey).Val() == `["`+serverKey(id)+`"]`
	})
}

func TestServersAreShared(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	a, b := open(t, at(s.addr)).ready(), open(t, at(s.addr)).ready()
	id := a.register("one", 10081, "19351")
	if got := b.known(id); got.Source != backend.SourceShared || got.Addr.String() != "127.0.0.1:10081" {
		t.Errorf("%+v", got)
	}
	if got := b.stream("k"); got.ID != id {
		t.Errorf("%+v", got)
	}
	// It restarts: another process at the same address takes over at once.
	restarted := backend.Registration{IP: "127.0.0.1", Server: "vid-one", Service: "other", PID: "7", SRT: []string{"10081"}}
	if _, err := a.reg.Register(restarted, b.known(id).Addr, time.Now(), 30*time.Second); err != nil {
		t.Fatal(err)
	}
	b.known("vid-one-other-7")
	until(t, "the old process to be forgotten", func() bool { _, still := b.reg.Snapshot().Find(id); return !still })
	if s.Exists(t.Context(), serverKey(id)).Val() != 0 {
		t.Error("its entry is still in Redis")
	}
	if got := b.stream("k"); got.ID != "vid-one-other-7" {
		t.Errorf("%+v", got)
	}
	a.reg.Remove("vid-one-other-7")
	until(t, "the other relay to know that it is gone", func() bool {
		b.reg.MarkDown("vid-one-other-7")
		return len(b.reg.Snapshot().Backends) == 0
	})
	until(t, "the indexes to be empty", func() bool {
		return s.Get(t.Context(), arrayKey).Val() == "[]" && s.SCard(t.Context(), setKey).Val() == 0
	})
}

// A static backend that SRS's proxy knows as one of its servers is one server:
// streams bind to the name under which the proxy finds its other protocols.
func TestStaticBackendHasItsSRSName(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	k, text := proxied("vid-one", 30000)
	s.write(t, [2]string{k, text})
	r := openWith(t, 1, at(s.addr)).ready()
	if got := r.stream("k"); got.ID != "127.0.0.1:30000" || s.Get(t.Context(), "srs-proxy-url:k").Val() != k {
		t.Errorf("%+v, in Redis %s", got, s.Get(t.Context(), "srs-proxy-url:k").Val())
	}
	must(t, s.Set(t.Context(), "srs-proxy-url:theirs", k, 0).Err())
	if got := r.stream("theirs"); got.ID != "127.0.0.1:30000" {
		t.Errorf("%+v", got)
	}
	if n := len(r.reg.Snapshot().Backends); n != 1 {
		t.Errorf("%d backends for one server", n)
	}
}

// A binding lives as long as its sessions, and a little longer.
func TestBindingsAreRenewed(t *testing.T) {
	t.Parallel()
	s := startRedis(t)
	r := openWith(t, 1, at(s.addr), func(m *balancer.Memory) { m.Affinity = time.Second }).ready()
	r.unhurried() // they are renewed when due, not in every round
	player := r.ask(backend.Query{Key: "k"})
	if ttl := s.PTTL(t.Context(), "srs-proxy-url:k").Val(); ttl <= 0 || ttl > r.firstTTL {
		t.Errorf("lives %v before its first session has", ttl)
	}
	got := r.stream("k")
	r.Release(player.Lease)
	r.Report(backend.Outcome{Lease: got.Lease, Fate: backend.FateBegan})
	until(t, "a session to have lived", func() bool { return r.renewed(s, "k") })
	if ttl := s.PTTL(t.Context(), "srs-proxy-url:k").Val(); ttl <= time.Second || ttl > 3*time.Second {
		t.Errorf("lives %v", ttl)
	}
	must(t, s.PExpire(t.Context(), "srs-proxy-url:k", 1900*time.Millisecond).Err())
	until(t, "the renewal", func() bool { return s.PTTL(t.Context(), "srs-proxy-url:k").Val() > 1900*time.Millisecond })
	r.Release(got.Lease)
	until(t, "the end of the affinity", func() bool { return s.Exists(t.Context(), "srs-proxy-url:k").Val() == 0 })
}
