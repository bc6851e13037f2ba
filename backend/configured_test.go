package backend

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// static returns a registry with these static backends, all alive.
func static(t *testing.T, hosts ...string) *Registry {
	t.Helper()
	r := NewRegistry()
	if err := r.AddStatic(hosts, noon); err != nil {
		t.Fatal(err)
	}
	for _, host := range hosts {
		r.MarkAlive(ID(host), 2, noon)
	}
	return r
}

func set(t *testing.T, r *Registry, hosts ...string) {
	t.Helper()
	if err := r.SetStatic(hosts, nil, noon); err != nil {
		t.Fatal(err)
	}
}

func unused(ID) bool { return false }

// idsOf are the backends in a registry, with ! after those that get no new streams.
func idsOf(r *Registry) string {
	var all []string
	for _, b := range r.Snapshot().Backends {
		id := string(b.ID)
		if b.Removed {
			id += "!"
		}
		all = append(all, id)
	}
	return strings.Join(all, " ")
}

// A backend that is removed stays while it has sessions, without new streams, and may
// come back.
func TestRemovedStatic(t *testing.T) {
	const a, b, c = "10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"
	r := static(t, a, b)
	set(t, r, b, c)
	if got := idsOf(r); got != a+"! "+b+" "+c {
		t.Fatal(got)
	}
	was := find(t, r, a)
	if was.Available(noon) || was.Down {
		t.Errorf("%+v", was)
	}
	if stays := find(t, r, b); stays.Down || stays.Added != noon || stays.KeyLen != 2 {
		t.Errorf("a backend that stays has changed: %+v", stays)
	}
	if gone := r.ExpireRemoved(func(id ID) bool { return id == a }); len(gone) > 0 {
		t.Errorf("removed in use: %v", gone)
	}
	set(t, r, a, b, c)
	if back := find(t, r, a); !back.Available(noon) {
		t.Errorf("not back: %+v", back)
	}
	set(t, r, c)
	if gone := r.ExpireRemoved(unused); len(gone) != 2 || idsOf(r) != c {
		t.Errorf("gone %v, left %s", gone, idsOf(r))
	}
	set(t, r)
	if r.ExpireRemoved(unused); idsOf(r) != "" {
		t.Errorf("left %s", idsOf(r))
	}
}

// An error changes nothing.
func TestSetStaticRefuses(t *testing.T) {
	r := static(t, "10.0.0.1:1", "a.test:1")
	r.SetOwnAddrs(netip.MustParseAddrPort("10.9.9.9:1"))
	before := r.Snapshot()
	for _, wrong := range []string{"10.0.0.1", "224.0.0.1:1", "10.9.9.9:1"} {
		err := r.SetStatic([]string{"10.0.0.2:1", wrong}, nil, noon)
		if err == nil || !strings.Contains(err.Error(), wrong) {
			t.Errorf("%s: %v", wrong, err)
		}
		if r.Snapshot() != before || len(r.names) != 1 {
			t.Errorf("%s: changed", wrong)
		}
	}
}

func TestSetStaticWeights(t *testing.T) {
	r := static(t, "10.0.0.1:1", "a.test:1")
	r.follow("a.test:1", []foundAt{{addr: netip.MustParseAddrPort("10.0.0.2:1")}}, noon)
	weights := map[string]int{"10.0.0.1:1": 3, "a.test:1": 4, "10.0.0.5:1": 5}
	if err := r.SetStatic([]string{"10.0.0.1:1", "a.test:1", "10.0.0.5:1"}, weights, noon); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[ID]int{"10.0.0.1:1": 3, "10.0.0.2:1": 4, "10.0.0.5:1": 5} {
		if b := find(t, r, id); b.Weight != want {
			t.Errorf("%s: weight %d, want %d", id, b.Weight, want)
		}
	}
	r.follow("a.test:1", []foundAt{{addr: netip.MustParseAddrPort("10.0.0.2:1")}, {addr: netip.MustParseAddrPort("10.0.0.3:1")}}, noon)
	if b := find(t, r, "10.0.0.3:1"); b.Weight != 4 {
		t.Errorf("a later address of the name has weight %d", b.Weight)
	}
	set(t, r, "10.0.0.1:1", "a.test:1")
	if b := find(t, r, "10.0.0.1:1"); b.Weight != 1 {
		t.Errorf("weight %d without one in the file", b.Weight)
	}
	// The weights of SRV records are not the file's.
	r = static(t, "srv://x")
	r.follow("srv://x", []foundAt{{addr: netip.MustParseAddrPort("10.0.0.2:1"), weight: 7}}, noon)
	if set(t, r, "srv://x"); find(t, r, "10.0.0.2:1").Weight != 7 {
		t.Error("the weight of an SRV record is lost")
	}
}

// The backends of a name that is removed drain, unless another name or an address of the
// configuration has them too. A late answer of a name server brings none back.
func TestRemovedName(t *testing.T) {
	at := func(s string) []foundAt { return []foundAt{{addr: netip.MustParseAddrPort(s)}} }
	r := static(t, "a.test:1", "b.test:1")
	r.follow("a.test:1", at("10.0.0.1:1"), noon)
	set(t, r, "b.test:1")
	if got := idsOf(r); got != "10.0.0.1:1! b.test:1" {
		t.Fatal(got)
	}
	r.follow("a.test:1", at("10.0.0.7:1"), noon)
	if kept, news := r.noteProblem("a.test:1", "late", noon); news && kept == 0 || idsOf(r) != "10.0.0.1:1! b.test:1" {
		t.Errorf("a removed name is back: %s", idsOf(r))
	}
	r.follow("b.test:1", at("10.0.0.1:1"), noon) // the other name takes it over
	if b := find(t, r, "10.0.0.1:1"); b.Removed || b.Host != "b.test:1" {
		t.Errorf("%+v", b)
	}
	set(t, r, "a.test:1", "b.test:1")
	r.follow("a.test:1", at("10.0.0.1:1"), noon)
	set(t, r, "a.test:1") // and back
	if b := find(t, r, "10.0.0.1:1"); b.Removed || b.Host != "a.test:1" {
		t.Errorf("%+v", b)
	}
	set(t, r, "10.0.0.1:1")
	if r.ExpireRemoved(unused); idsOf(r) != "10.0.0.1:1" || find(t, r, "10.0.0.1:1").Host != "10.0.0.1:1" {
		t.Errorf("the address has not taken the place of the name: %s", idsOf(r))
	}
	set(t, r, "c.test:1") // which turns out to have the address
	r.follow("c.test:1", at("10.0.0.1:1"), noon)
	if r.ExpireRemoved(unused); idsOf(r) != "10.0.0.1:1" || find(t, r, "10.0.0.1:1").Host != "c.test:1" {
		t.Errorf("the name has not taken the place of the address: %s", idsOf(r))
	}
}

// A server that has registered keeps its entry, and its streams, until it has gone.
func TestStaticWaitsForRegistered(t *testing.T) {
	r := NewRegistry()
	addr := netip.MustParseAddrPort("10.0.0.1:1")
	a, err := r.Register(Registration{Server: "s", Service: "v", PID: "1"}, addr, noon, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	set(t, r, "10.0.0.1:1")
	if r.ExpireRemoved(unused); idsOf(r) != string(a.Backend.ID) {
		t.Fatal(idsOf(r))
	}
	r.Remove(a.Backend.ID)
	if r.ExpireRemoved(unused); idsOf(r) != "10.0.0.1:1" {
		t.Error(idsOf(r))
	}
}

// ResolveNames follows the names of the configuration.
func TestResolveNamesFollowsSetStatic(t *testing.T) {
	r := static(t, "a.test:1")
	asked := make(chan string)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan struct{})
	found := make(chan Backend, 4)
	go func() {
		defer close(ended)
		r.ResolveNames(ctx, ResolveOptions{
			Lookup: func(ctx context.Context, _, name string) ([]netip.Addr, error) {
				select {
				case asked <- name:
				case <-ctx.Done():
				}
				return []netip.Addr{netip.MustParseAddr("10.0.0." + map[string]string{"a.test": "1", "b.test": "2"}[name])}, nil
			},
			OnFound: func(b Backend) { found <- b }, OnLeft: func(Backend) {}, OnFail: func(string, string, int) {},
		})
	}()
	if name := <-asked; name != "a.test" {
		t.Fatal(name)
	}
	<-found
	set(t, r, "b.test:1")
	if name := <-asked; name != "b.test" {
		t.Fatal(name)
	}
	<-found
	r.ExpireRemoved(unused)
	if got := idsOf(r); got != "10.0.0.2:1" {
		t.Error(got)
	}
	end()
	<-ended
	if hosts := r.staticHosts(); !slices.Equal(hosts, []string{"b.test:1"}) {
		t.Error(hosts)
	}
}
