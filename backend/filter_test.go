package backend

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// someLocal returns an address of this machine that is not loopback, invalid
// if it has none.
func someLocal() netip.Addr {
	for _, ip := range readHostAddrs() {
		if !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
			return ip
		}
	}
	return netip.Addr{}
}

// The relay does not take itself for a backend, however it hears of itself.
func TestOwnAddressIsNoBackend(t *testing.T) {
	lo := netip.MustParseAddr("127.0.0.1")
	ways := map[string]func(*Registry, netip.AddrPort) error{
		"put": func(r *Registry, at netip.AddrPort) error {
			return r.Put(Backend{ID: "x", Source: SourceShared, Addr: at})
		},
		"heartbeat": func(r *Registry, at netip.AddrPort) error {
			reg := Registration{Server: "s", Service: "s", PID: "1", SRT: []string{at.String()}}
			_, err := r.Register(reg, at, noon, time.Minute)
			return err
		},
		"store": func(r *Registry, at netip.AddrPort) error {
			for _, refused := range r.Merge([]Change{{New: Backend{ID: "x", Source: SourceShared, Addr: at}}}, noon) {
				return refused.Err
			}
			return nil
		},
		"configuration": func(r *Registry, at netip.AddrPort) error {
			return r.AddStatic([]string{at.String()}, noon)
		},
	}
	for name, way := range ways {
		for own, at := range map[string]netip.Addr{
			"127.0.0.1:10080": lo, "0.0.0.0:10080": lo, "[::]:10080": someLocal(),
		} {
			if !at.IsValid() {
				continue
			}
			r := NewRegistry()
			r.SetOwnAddrs(netip.MustParseAddrPort(own))
			if err := way(r, netip.AddrPortFrom(at, 10080)); !errors.Is(err, ErrSelf) {
				t.Errorf("%s, the relay listens on %s, a backend at %s: %v", name, own, at, err)
			}
			if err := way(r, netip.AddrPortFrom(at, 10081)); err != nil {
				t.Errorf("%s, another port: %v", name, err)
			}
		}
		r := NewRegistry()
		for _, text := range []string{"0.0.0.0:1", "224.0.0.1:1", "255.255.255.255:1", "10.0.0.1:0"} {
			if err := way(r, netip.MustParseAddrPort(text)); err == nil {
				t.Errorf("%s: %s was taken", name, text)
			}
		}
	}
	r := NewRegistry()
	r.SetOwnAddrs(netip.MustParseAddrPort("0.0.0.0:10080"))
	if err := r.AddStatic([]string{"name.test:10080"}, noon); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r.ResolveNames(ctx, ResolveOptions{
		Lookup:  func(context.Context, string, string) ([]netip.Addr, error) { return []netip.Addr{lo}, nil },
		OnFound: func(b Backend) { t.Errorf("a name is at %s", b.Addr); cancel() },
		OnFail: func(_, problem string, _ int) {
			if problem != "name resolves to 127.0.0.1:10080, which is the relay itself" {
				t.Error(problem)
			}
			cancel()
		},
	})
}

// What was learnt before the relay knew where it listens is forgotten, and does
// not stop the start as if the operator had written it.
func TestReserveForgetsOwnAddress(t *testing.T) {
	r := NewRegistry()
	own := netip.MustParseAddrPort("127.0.0.1:10080")
	if err := r.Put(Backend{ID: "stale", Source: SourceShared, Addr: own}); err != nil {
		t.Fatal(err)
	}
	r.SetOwnAddrs(own)
	if b, found := r.FindOwn(); found || len(r.Snapshot().Backends) != 0 {
		t.Errorf("%+v is still there", b)
	}
	r = NewRegistry()
	if err := r.AddStatic([]string{own.String()}, noon); err != nil {
		t.Fatal(err)
	}
	r.SetOwnAddrs(own)
	if b, found := r.FindOwn(); !found || b.Source != SourceStatic {
		t.Errorf("%+v, %v", b, found)
	}
}

// An address that becomes the machine's own, as a virtual one may, is no
// backend's any more.
func TestRecheck(t *testing.T) {
	r := NewRegistry()
	moving := netip.MustParseAddr("192.0.2.1")
	r.SetOwnAddrs(netip.MustParseAddrPort("0.0.0.0:10080"))
	r.filter.hostAddrs, r.filter.readAt = nil, time.Now().Add(time.Hour)
	if err := r.AddStatic([]string{"192.0.2.1:10080", "192.0.2.2:10080"}, noon); err != nil {
		t.Fatal(err)
	}
	r.Merge([]Change{{New: Backend{ID: "s", Source: SourceShared, Addr: netip.AddrPortFrom(moving, 10080)}}}, noon)
	if refused := r.Recheck(); len(refused) != 0 {
		t.Fatalf("%+v", refused)
	}
	r.filter.hostAddrs = []netip.Addr{moving}
	if refused := r.Recheck(); len(refused) != 2 {
		t.Errorf("%+v", refused)
	}
	b := find(t, r, "192.0.2.1:10080")
	if b.Addr.IsValid() || !b.Down || b.Problem != "192.0.2.1:10080 is the relay itself" || len(r.Snapshot().Backends) != 2 {
		t.Errorf("%+v", r.Snapshot().Backends)
	}
	if again := r.Recheck(); len(again) != 0 {
		t.Errorf("told again of %+v", again)
	}
}

// A flood of entries that name the relay's port does not ask the kernel for the
// machine's addresses each time.
func TestLocalAddressesAreRemembered(t *testing.T) {
	g := addrFilter{own: []netip.AddrPort{netip.MustParseAddrPort("0.0.0.0:1")}}
	_ = g.check(netip.MustParseAddrPort("192.0.2.1:1"))
	first := g.readAt
	for range 10000 {
		_ = g.check(netip.MustParseAddrPort("192.0.2.1:1"))
	}
	if g.readAt.Sub(first) > 0 && g.readAt.Sub(first) < hostAddrsTTL {
		t.Error("read again within a second")
	}
	if _, err := net.InterfaceAddrs(); err == nil && len(g.hostAddrs) == 0 {
		t.Error("knows no address of this machine")
	}
}

// A name whose address becomes the machine's own has its other addresses, or none.
func TestRecheckOfNames(t *testing.T) {
	r := statics(t, "one.test:10080", "two.test:10080")
	r.SetOwnAddrs(netip.MustParseAddrPort("0.0.0.0:10080"))
	r.filter.hostAddrs, r.filter.readAt = nil, time.Now().Add(time.Hour)
	found := func(ips ...string) (all []foundAt) {
		for _, ip := range ips {
			all = append(all, foundAt{addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 10080)})
		}
		return all
	}
	r.follow("one.test:10080", found("192.0.2.1"), noon)
	r.follow("two.test:10080", found("192.0.2.2", "192.0.2.3"), noon)
	r.filter.hostAddrs = []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")}
	if refused := r.Recheck(); len(refused) != 2 {
		t.Errorf("%+v", refused)
	}
	if got, want := listed(r), []string{"192.0.2.3:10080", "one.test:10080"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if b := find(t, r, "one.test:10080"); !b.Down || b.Problem != "192.0.2.1:10080 is the relay itself" {
		t.Errorf("%+v", b)
	}
}
