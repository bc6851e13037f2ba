package backend

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/golden"
	"srtrelay/internal/message"
)

// boot is when CLOCK_MONOTONIC was 0, by the clock of these tests.
var boot = noon.Add(-time.Hour)

// configured returns a registry with the static backends of a configuration.
func configured(t *testing.T, hosts ...string) *Registry {
	t.Helper()
	r := NewRegistry()
	if err := r.AddStatic(hosts, noon); err != nil {
		t.Fatal(err)
	}
	return r
}

// every returns a registry with backends of all sources in all states.
func every(t *testing.T) *Registry {
	t.Helper()
	r := configured(t, "10.0.0.1:10080", "10.0.0.2:10080", "one.test:10080", "none.test:10080")
	r.MarkAlive("10.0.0.1:10080", 3, noon)
	r.SetDraining("10.0.0.1:10080", true)
	r.follow("one.test:10080", []foundAt{
		{addr: netip.MustParseAddrPort("10.0.1.1:10080")}, {addr: netip.MustParseAddrPort("10.0.1.2:10080"), weight: 5, backup: 1},
	}, noon)
	r.MarkAlive("10.0.1.2:10080", 0, noon)
	r.follow("one.test:10080", []foundAt{{addr: netip.MustParseAddrPort("10.0.1.1:10080")}}, noon.Add(time.Second)) // 10.0.1.2 has left
	r.noteProblem("none.test:10080", "name does not resolve: no such host", noon)
	for i, name := range []string{"alive", "down", "gone", "suspect", "draining", "again"} {
		reg := Registration{
			IP: "10.0.2." + string(rune('1'+i)), Server: name, Service: "s", PID: "1",
			RTMP: []string{"1935"}, HTTP: []string{"8080"}, API: []string{"1985"}, SRT: []string{"udp://0.0.0.0:10080", ""}, RTC: []string{"8000"},
		}
		at := netip.AddrPortFrom(netip.MustParseAddr(reg.IP), 10080)
		if _, err := r.Register(reg, at, noon, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		id := reg.ID()
		switch name {
		case "alive", "suspect", "draining", "gone", "again":
			r.MarkAlive(id, 2, noon.Add(3*time.Second))
		}
		switch name {
		case "suspect":
			r.Suspect(id)
		case "draining":
			r.SetDraining(id, true)
			r.SetWeight(id, 7)
		case "gone":
			r.MarkDown(id)
		case "again": // restarts, and the entry of its former process is replaced
			reg.PID = "2"
			if _, err := r.Register(reg, at, noon.Add(time.Second), 30*time.Second); err != nil {
				t.Fatal(err)
			}
		}
	}
	static := Registration{IP: "10.0.0.2", Server: "static", Service: "s", PID: "1", SRT: []string{"10080"}}
	if _, err := r.Register(static, netip.MustParseAddrPort("10.0.0.2:10080"), noon, time.Minute); err != nil {
		t.Fatal(err)
	}
	shared := Registration{IP: "10.0.3.1", Server: "shared", Service: "s", PID: "1", SRT: []string{"10080"}}
	r.Merge([]Change{{New: Backend{
		ID: shared.ID(), Source: SourceShared, Host: "10.0.3.1:10080", Addr: netip.MustParseAddrPort("10.0.3.1:10080"),
		Registration: &shared, Added: noon, Expires: noon.Add(time.Minute),
	}}}, noon)
	return r
}

// same checks that two registries know the same, one by a clock that is ahead.
func same(t *testing.T, got, want *Registry, ahead time.Duration) {
	t.Helper()
	later := func(at *time.Time) {
		if !at.IsZero() {
			*at = at.Add(ahead)
		}
	}
	for _, w := range want.Snapshot().Backends {
		for _, at := range []*time.Time{&w.LeftAt, &w.Expires, &w.Added, &w.Answered} {
			later(at)
		}
		if g := find(t, got, w.ID); !reflect.DeepEqual(g, w) {
			t.Errorf("%s is\n%+v, want\n%+v", w.ID, g, w)
		}
	}
	if g, w := ids(got.Snapshot()), ids(want.Snapshot()); !slices.Equal(g, w) || got.Snapshot().KeyLen != want.Snapshot().KeyLen {
		t.Errorf("knows %v, want %v", g, w)
	}
	seen := got.LastSeen()
	for id, at := range want.LastSeen() {
		if later(&at); !seen[id].Equal(at) {
			t.Errorf("%s was last seen %v, want %v", id, seen[id], at)
		}
	}
	if len(got.replaced) != len(want.replaced) || len(got.names) != len(want.names) {
		t.Errorf("%d replaced and %d names, want %d and %d", len(got.replaced), len(got.names), len(want.replaced), len(want.names))
	}
	for host, n := range want.names {
		if !reflect.DeepEqual(got.names[host].found, n.found) {
			t.Errorf("%s has %v, want %v", host, got.names[host].found, n.found)
		}
	}
}

func TestSnapshotRoundTrip(t *testing.T) {
	old := every(t)
	const ahead = 1000 * time.Hour
	next := configured(t, "10.0.0.1:10080", "10.0.0.2:10080", "one.test:10080", "none.test:10080")
	w := next.Watch()
	defer w.Close()
	refused, err := next.Restore(old.AppendSnapshot(nil, boot), boot.Add(ahead), noon.Add(ahead))
	if err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	same(t, next, old, ahead)
	if len(w.Collect()) == 0 {
		t.Error("the prober does not hear of the backends")
	}
	// A heartbeat goes on where the last one ended.
	alive := find(t, next, "alive-s-1")
	if a, err := next.Register(*alive.Registration, alive.Addr, noon.Add(ahead+20*time.Second), 30*time.Second); err != nil || a.New {
		t.Errorf("%+v, %v", a, err)
	}
	// A late heartbeat of a process that was replaced is refused still.
	again := find(t, next, "again-s-2")
	was := *again.Registration
	was.PID = "1"
	if _, err := next.Register(was, again.Addr, noon.Add(ahead), 30*time.Second); err == nil {
		t.Error("a process that was replaced registers")
	}
	if gone := next.Expire(noon.Add(ahead+10*time.Minute), keepLate); len(gone) != 7 {
		t.Errorf("%d backends expire", len(gone))
	}
}

// What this process has looked up and probed itself is newer than the snapshot.
func TestRestoreKeepsWhatIsNewer(t *testing.T) {
	old := every(t)
	next := configured(t, "10.0.0.1:10080", "10.0.0.9:10080", "one.test:10080")
	next.MarkAlive("10.0.0.1:10080", 4, noon.Add(time.Minute))
	next.follow("one.test:10080", []foundAt{{addr: netip.MustParseAddrPort("10.0.1.9:10080")}}, noon.Add(time.Minute))
	text := old.AppendSnapshot(nil, boot)
	if _, err := next.Restore(text, boot, noon.Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	if b := find(t, next, "10.0.0.1:10080"); b.KeyLen != 4 || !b.Draining || b.Down {
		t.Errorf("%+v", b)
	}
	if b := find(t, next, "10.0.1.1:10080"); b.LeftAt.IsZero() {
		t.Error("an address that the name has no more has not left it")
	}
	if b := find(t, next, "10.0.1.9:10080"); !b.LeftAt.IsZero() || !b.Down {
		t.Errorf("%+v", b)
	}
	if _, known := next.Snapshot().Find("one.test:10080"); known {
		t.Error("a backend stands for a name that has addresses")
	}
	find(t, next, "10.0.0.9:10080")
	if b := find(t, next, "alive-s-1"); !b.Available(noon) {
		t.Errorf("must be probed first: %+v", b)
	}
}

// No two backends have one address, and none that of the relay.
func TestRestoreChecksAddresses(t *testing.T) {
	old := every(t)
	next := configured(t, "10.0.2.1:10080") // that of a registered one
	next.SetOwnAddrs(netip.MustParseAddrPort("10.0.2.2:10080"))
	refused, err := next.Restore(old.AppendSnapshot(nil, boot), boot, noon)
	if err != nil || len(refused) != 1 || refused[0].New.ID != "down-s-1" {
		t.Errorf("%+v, %v", refused, err)
	}
	at := map[netip.AddrPort]ID{}
	for _, b := range next.Snapshot().Backends {
		if other, twice := at[b.Addr]; twice && b.Addr.IsValid() {
			t.Errorf("%s and %s are both at %s", b.ID, other, b.Addr)
		}
		at[b.Addr] = b.ID
	}
	find(t, next, "alive-s-1")
}

// goldenFile has a snapshot of version 1 as it was first written.
const goldenFile = "testdata/snapshot-1.hex"

func TestGoldenSnapshot(t *testing.T) {
	old := every(t)
	next := configured(t, "10.0.0.1:10080", "10.0.0.2:10080", "one.test:10080", "none.test:10080")
	if _, err := next.Restore(golden.Hex(t, goldenFile, func() []byte { return old.AppendSnapshot(nil, boot) }), boot, noon); err != nil {
		t.Fatal(err)
	}
	same(t, next, old, 0)
}

func TestDamagedSnapshots(t *testing.T) {
	good := every(t).AppendSnapshot(nil, boot)
	one := func(fields ...func([]byte) []byte) []byte {
		b, mark := message.Open(message.AppendVersion(nil, snapshotVersion), registryBackend)
		for _, append := range fields {
			b = append(b)
		}
		return message.Close(b, mark)
	}
	text := func(n message.Number, s string) func([]byte) []byte {
		return func(b []byte) []byte { return message.AppendBytes(b, n, s) }
	}
	weight := func(b []byte) []byte { return message.AppendUint(b, backendWeight, uint16(1)) }
	for name, b := range map[string][]byte{
		"empty":           nil,
		"other version":   message.AppendVersion(nil, 99),
		"half":            good[:len(good)/2],
		"a backend twice": append(slices.Clone(good), good[2:]...),
		"no ID":           one(text(backendSource, "static"), text(backendHost, "h"), weight),
		"no source":       one(text(backendID, "x"), text(backendHost, "h"), weight),
		"no weight":       one(text(backendID, "x"), text(backendSource, "static"), text(backendHost, "h")),
		"no address":      one(text(backendID, "x"), text(backendSource, "registered"), weight),
		"bad address":     one(text(backendID, "x"), text(backendSource, "static"), text(backendHost, "h"), text(backendAddr, "1.2.3.4"), weight),
	} {
		next := configured(t, "10.0.0.1:10080")
		_, err := next.Restore(b, boot, noon)
		if err == nil || strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "snapshot of the backends: ") {
			t.Errorf("%s: %v", name, err)
		}
		if n := len(next.Snapshot().Backends); n != 1 {
			t.Errorf("%s: changed the registry, which has %d backends", name, n)
		}
	}
}

func FuzzRestore(f *testing.F) {
	f.Add(golden.Hex(f, goldenFile, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := configured(t, "10.0.0.1:10080", "one.test:10080")
		if _, err := r.Restore(b, boot, noon); err != nil {
			return
		}
		r.Expire(noon, keepLate)
		next := configured(t, "10.0.0.1:10080", "one.test:10080")
		if _, err := next.Restore(r.AppendSnapshot(nil, boot), boot, noon); err != nil {
			t.Fatal(err)
		}
	})
}

// A new configuration applies to what was taken over: what it has no more keeps its streams
// and gets no new ones, and what is new waits for its first probe.
func TestRestoreWithAnotherConfiguration(t *testing.T) {
	old := every(t)
	old.MarkAlive("10.0.1.1:10080", 0, noon)
	hosts := []string{"10.0.0.1:10080", "10.0.0.9:10080", "10.0.2.1:10080"} // the last one's address is that of alive-s-1
	next := configured(t, hosts...)
	if _, err := next.Restore(old.AppendSnapshot(nil, boot), boot, noon); err != nil {
		t.Fatal(err)
	}
	if err := next.SetStatic(hosts, map[string]int{"10.0.0.1:10080": 9}, noon); err != nil {
		t.Fatal(err)
	}
	if b := find(t, next, "10.0.0.1:10080"); b.Removed || b.Down || b.Weight != 9 || !b.Draining {
		t.Errorf("%+v", b)
	}
	for _, id := range []ID{"10.0.0.2:10080", "10.0.1.1:10080"} {
		if b := find(t, next, id); !b.Removed || b.Available(noon) {
			t.Errorf("%+v", b)
		}
	}
	if b := find(t, next, "10.0.0.9:10080"); b.Removed || !b.Down {
		t.Errorf("%+v", b)
	}
	if b := find(t, next, "alive-s-1"); b.Removed || !b.Available(noon) {
		t.Errorf("%+v", b)
	}
	next.ExpireRemoved(func(id ID) bool { return id == "10.0.1.1:10080" })
	find(t, next, "10.0.1.1:10080") // has sessions
	if _, known := next.Snapshot().Find("10.0.0.2:10080"); known {
		t.Error("a removed backend without sessions stays")
	}
	// A removed one that comes back in the next configuration goes on.
	last := configured(t, "one.test:10080")
	if _, err := last.Restore(next.AppendSnapshot(nil, boot), boot, noon); err != nil {
		t.Fatal(err)
	}
	if err := last.SetStatic([]string{"one.test:10080"}, nil, noon); err != nil {
		t.Fatal(err)
	}
	if b := find(t, last, "10.0.1.1:10080"); b.Removed || b.Down || b.Host != "one.test:10080" {
		t.Errorf("%+v", b)
	}
}
