package backend

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

const ttl = 30 * time.Second

// server is the registration of a process: a server and its start.
func server(name, start string) Registration {
	return Registration{Server: name, Service: start, PID: "1", SRT: []string{"udp://0.0.0.0:10080"}}
}

func at(text string) netip.AddrPort { return netip.MustParseAddrPort(text) }

// heard registers and must succeed.
func heard(t *testing.T, r *Registry, g Registration, addr string, now time.Time) Arrival {
	t.Helper()
	a, err := r.Register(g, at(addr), now, ttl)
	if err != nil {
		t.Fatalf("%s at %s: %v", g.ID(), addr, err)
	}
	if got := find(t, r, a.Backend.ID); got != a.Backend {
		t.Fatalf("told  %+v\nknown %+v", a.Backend, got)
	}
	return a
}

func expectIDs(t *testing.T, r *Registry, want ...ID) {
	t.Helper()
	if got := ids(r.Snapshot()); !slices.Equal(got, want) {
		t.Fatalf("known %v, want %v", got, want)
	}
}

func TestRegisterNew(t *testing.T) {
	r := NewRegistry()
	a := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon)
	b := a.Backend
	if !a.New || a.Replaced != nil || b.ID != "vid-a-s1-1" || b.Source != SourceRegistered || b.Addr != at("10.0.0.1:10080") ||
		!b.Down || b.Draining || b.Weight != 1 || b.Added != noon || b.KeyLen != 0 || b.Registration.Server != "vid-a" {
		t.Errorf("%+v", a)
	}
	if b.Late(noon.Add(ttl)) || !b.Late(noon.Add(ttl+ttl/expiresParts+1)) {
		t.Errorf("late at %v", b.Expires)
	}
}

// A heartbeat gives time and touches nothing else.
func TestHeartbeatOnlyExtends(t *testing.T) {
	r := NewRegistry()
	id := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon).Backend.ID
	r.MarkAlive(id, 4, noon)
	r.SetDraining(id, true)
	r.SetWeight(id, 3)
	before := find(t, r, id)
	a := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon.Add(ttl))
	after := a.Backend
	if a.New || a.Replaced != nil || after.Late(noon.Add(2*ttl)) || !before.Late(noon.Add(2*ttl)) {
		t.Errorf("%+v", a)
	}
	after.Expires = before.Expires
	if after != before {
		t.Errorf("before %+v\nafter  %+v", before, after)
	}
	if got := r.LastSeen()[id]; got != noon.Add(ttl) {
		t.Errorf("seen %v", got)
	}
	// What it says of itself may change while it runs.
	g := server("vid-a", "s1")
	g.Device = "edge"
	if a = heard(t, r, g, "10.0.0.1:10080", noon.Add(ttl)); a.New || a.Backend.Registration.Device != "edge" || a.Backend.Down {
		t.Errorf("%+v", a)
	}
	// At another address nobody has answered yet.
	if a = heard(t, r, g, "10.0.0.2:10080", noon.Add(ttl)); a.New || !a.Backend.Down || a.Backend.Host != "10.0.0.2:10080" || !a.Backend.Draining {
		t.Errorf("%+v", a)
	}
}

func TestRestartReplacesAtOnce(t *testing.T) {
	for name, c := range map[string]struct {
		again Registration
		addr  string
	}{
		"same server, same address":    {server("vid-a", "s2"), "10.0.0.1:10080"},
		"same server, another address": {server("vid-a", "s2"), "10.0.0.9:10080"},
		"same address, another server": {server("vid-z", "s2"), "10.0.0.1:10080"},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewRegistry()
			heard(t, r, server("vid-b", "s1"), "10.0.0.2:10080", noon)
			old := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon).Backend.ID
			r.MarkAlive(old, 4, noon)
			r.SetDraining(old, true)
			a := heard(t, r, c.again, c.addr, noon)
			if !a.New || !slices.Equal(a.Replaced, []ID{old}) || !a.Backend.Down || a.Backend.Draining || a.Backend.KeyLen != 0 {
				t.Errorf("%+v", a)
			}
			if _, ok := r.LastSeen()[old]; ok || len(r.Snapshot().Backends) != 2 {
				t.Errorf("left %v, seen %v", ids(r.Snapshot()), r.LastSeen())
			}
			if a := heard(t, r, c.again, c.addr, noon); a.New || a.Replaced != nil {
				t.Errorf("its second heartbeat: %+v", a)
			}
		})
	}
}

// A heartbeat of the dead process that comes late does not bring it back.
func TestLateHeartbeatOfThePredecessor(t *testing.T) {
	r := NewRegistry()
	heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon)
	heard(t, r, server("vid-a", "s2"), "10.0.0.1:10080", noon)
	if _, err := r.Register(server("vid-a", "s1"), at("10.0.0.1:10080"), noon, ttl); !errors.Is(err, ErrReplaced) {
		t.Errorf("%v", err)
	}
	expectIDs(t, r, "vid-a-s2-1")
	r.Expire(noon.Add(keepLate+1), 2*keepLate)
	if a := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon.Add(keepLate+1)); !a.New {
		t.Errorf("%+v", a) // the other has been gone for long: this is who lives
	}
}

// Two live processes under one server ID must not throw each other out for
// ever.
func TestClonedServerID(t *testing.T) {
	r := NewRegistry()
	a, b := server("vid-a", "s1"), server("vid-a", "s2")
	for range 3 {
		heard(t, r, a, "10.0.0.1:10080", noon)
		heard(t, r, b, "10.0.0.2:10080", noon)
	}
	expectIDs(t, r, a.ID(), b.ID())
	before := r.Snapshot()
	heard(t, r, a, "10.0.0.1:10080", noon)
	if r.Snapshot() != before {
		t.Error("they still quarrel")
	}
}

func TestStaticBackendStays(t *testing.T) {
	r := NewRegistry()
	r.Put(Backend{ID: "origin:10080", Source: SourceStatic, Host: "origin:10080", Addr: at("10.0.0.1:10080"), Weight: 5})
	r.MarkAlive("origin:10080", 4, noon)
	before := find(t, r, "origin:10080")
	a := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon)
	if !a.New || a.Backend.Registration.ID() != "vid-a-s1-1" {
		t.Errorf("%+v", a)
	}
	b := a.Backend
	b.Registration = nil
	if b != before {
		t.Errorf("before %+v\nafter  %+v", before, b)
	}
	s := r.Snapshot()
	if a := heard(t, r, server("vid-a", "s1"), "10.0.0.1:10080", noon.Add(time.Hour)); a.New || r.Snapshot() != s {
		t.Errorf("second heartbeat: %+v", a)
	}
	if a = heard(t, r, server("vid-a", "s2"), "10.0.0.1:10080", noon); !a.New || a.Replaced != nil || a.Backend.Down {
		t.Errorf("restart: %+v", a)
	}
	if _, err := r.Register(server("vid-a", "s1"), at("10.0.0.1:10080"), noon, ttl); !errors.Is(err, ErrReplaced) {
		t.Errorf("the predecessor: %v", err)
	}
	heard(t, r, server("vid-a", "s3"), "10.0.0.3:10080", noon)
	expectIDs(t, r, "origin:10080", "vid-a-s3-1")
	if b := find(t, r, "origin:10080"); b != before {
		t.Errorf("its process went elsewhere: %+v", b)
	}
	if gone := r.Expire(noon.Add(time.Hour), keepLate); len(gone) != 1 || gone[0].ID != "vid-a-s3-1" {
		t.Errorf("expired %v", gone)
	}
}

func TestRegisterRefuses(t *testing.T) {
	r := NewRegistry()
	r.SetOwnAddrs(at("[::]:20080"), at("10.0.0.7:30080"))
	r.Put(Backend{ID: "a-b-c:1", Source: SourceStatic, Addr: at("10.0.0.1:1")})
	for name, c := range map[string]struct {
		g    Registration
		addr string
		want error
	}{
		"the relay by loopback": {server("s", "s"), "127.0.0.1:20080", ErrSelf},
		"the relay by address":  {server("s", "s"), "10.0.0.7:30080", ErrSelf},
		"a static's name":       {Registration{Server: "a", Service: "b", PID: "c:1"}, "10.0.0.2:1", ErrTaken},
	} {
		before := r.Snapshot()
		if _, err := r.Register(c.g, at(c.addr), noon, ttl); !errors.Is(err, c.want) || r.Snapshot() != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	heard(t, r, server("s", "s"), "10.0.0.8:30080", noon)
}

func TestCheckNamesTheField(t *testing.T) {
	long := strings.Repeat("x", maxName+1)
	for want, change := range map[string]func(*Registration){
		"server: missing":                 func(g *Registration) { g.Server = "" },
		"service: missing":                func(g *Registration) { g.Service = "" },
		"pid: missing":                    func(g *Registration) { g.PID = "" },
		"server: longer than":             func(g *Registration) { g.Server = long },
		"pid: \"1 2\": letters":           func(g *Registration) { g.PID = "1 2" },
		"service: \"a/b\": letters":       func(g *Registration) { g.Service = "a/b" },
		"service: \"\u00e4\": letters":    func(g *Registration) { g.Service = "\u00e4" },
		"server: holds characters":        func(g *Registration) { g.Server = "a\x00" },
		"ip: longer than":                 func(g *Registration) { g.IP = long },
		"device_id: holds characters":     func(g *Registration) { g.Device = "a\u202eb" },
		"srt: longer than 128 bytes":      func(g *Registration) { g.SRT = []string{long} },
		"rtc: more than 32 entries":       func(g *Registration) { g.RTC = make([]string, maxListens+1) },
		"rtmp: holds characters":          func(g *Registration) { g.RTMP = []string{"1935", "\x1b[2J"} },
		"http: holds characters":          func(g *Registration) { g.HTTP = []string{"\x7f"} },
		"api: longer than 128 bytes":      func(g *Registration) { g.API = []string{long} },
		"device_id: longer than 128 byte": func(g *Registration) { g.Device = long },
	} {
		g := server("s", "s")
		change(&g)
		r := NewRegistry()
		if _, err := r.Register(g, at("10.0.0.1:1"), noon, ttl); err == nil || !strings.HasPrefix(err.Error(), want) || len(r.Snapshot().Backends) != 0 {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The cap holds, restarts go on beneath it, and no refused one leaves a trace.
func TestRegistrationsAreCapped(t *testing.T) {
	r := NewRegistry()
	for i := range MaxRegistered {
		b := Backend{ID: ID(fmt.Sprintf("id%d", i)), Source: SourceRegistered, Addr: netip.AddrPortFrom(at("10.9.0.0:1").Addr(), uint16(i+1))}
		r.liveness[b.ID] = new(liveness)
		r.current.Store(&Snapshot{Backends: append(r.Snapshot().Backends, b)})
	}
	r.publish(slices.Clone(r.Snapshot().Backends))
	full := len(r.liveness)
	for i := range 100 {
		if _, err := r.Register(server(fmt.Sprint("new", i), "s"), at("10.0.0.1:1"), noon, ttl); !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	if len(r.Snapshot().Backends) != MaxRegistered || len(r.liveness) != full || len(r.replaced) != 0 {
		t.Errorf("%d backends, %d pulses, %d replaced", len(r.Snapshot().Backends), len(r.liveness), len(r.replaced))
	}
	if a := heard(t, r, server("new", "s"), "10.9.0.0:7", noon); !slices.Equal(a.Replaced, []ID{"id6"}) {
		t.Errorf("a restart: %v", a.Replaced)
	}
}

func TestDrainAndWeigh(t *testing.T) {
	r := NewRegistry()
	r.Put(numbered("a", 1))
	if b := find(t, r, "a"); b.Weight != 1 || !b.Available(noon) {
		t.Errorf("%+v", b)
	}
	if !r.SetDraining("a", true) || !find(t, r, "a").Draining || find(t, r, "a").Available(noon) {
		t.Error("not draining")
	}
	s := r.Snapshot()
	if !r.SetDraining("a", true) || r.SetDraining("b", true) || r.SetWeight("b", 2) || r.Snapshot() != s {
		t.Error("nothing changed, yet there is a new snapshot, or an unknown backend is known")
	}
	if !r.SetDraining("a", false) || !find(t, r, "a").Available(noon) {
		t.Error("still draining")
	}
	if r.SetWeight("a", 7); find(t, r, "a").Weight != 7 {
		t.Error("weight")
	}
	if r.SetWeight("a", -7); find(t, r, "a").Weight != 1 {
		t.Error("negative weight")
	}
}

// A backend that answers probes may have sessions: without heartbeats it is
// late, and gets no new streams, but it is not forgotten.
func TestExpireKeepsWhoAnswers(t *testing.T) {
	r := NewRegistry()
	start := time.Unix(1000, 0)
	reg := Registration{IP: "127.0.0.1", Server: "vid-a", Service: "s", PID: "1", SRT: []string{"10080"}}
	a, err := r.Register(reg, netip.MustParseAddrPort("127.0.0.1:10080"), start, 30*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	late := start.Add(30*time.Second + keepLate + time.Second)
	r.MarkAlive(a.Backend.ID, 0, late.Add(-time.Second))
	if gone := r.Expire(late, keepLate); len(gone) != 0 {
		t.Errorf("forgot %v", gone)
	}
	if b, _ := r.Snapshot().Find(a.Backend.ID); b.Available(late) {
		t.Error("a late one takes new streams")
	}
	r.MarkDown(a.Backend.ID)
	if gone := r.Expire(late, keepLate); len(gone) != 1 {
		t.Error("one that does not answer either is kept")
	}
}
