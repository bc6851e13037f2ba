package backend

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// names is a name server.
type names map[string][]string

func (n names) lookup(_ context.Context, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	answer, ok := n[host]
	if !ok || network != "ip" {
		return nil, errors.New("no such host")
	}
	var all []netip.Addr
	for _, s := range answer {
		all = append(all, netip.MustParseAddr(s))
	}
	return all, nil
}

func TestAddStatic(t *testing.T) {
	n := names{"a.test": {"::ffff:10.0.0.1", "10.0.0.2"}, "six.test": {"2001:db8::1"}}
	r := NewRegistry()
	if err := r.AddStatic(t.Context(), []string{"a.test:10080", "six.test:1", "[::1]:65535"}, n.lookup, noon); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[ID]string{
		"a.test:10080": "10.0.0.1:10080", "six.test:1": "[2001:db8::1]:1", "[::1]:65535": "[::1]:65535",
	} {
		b := find(t, r, id)
		if b.Addr.String() != want || !b.Down || b.Source != Static || b.Host != string(id) || b.Added != noon {
			t.Errorf("%+v, want address %s, down", b, want)
		}
	}
}

func TestAddStaticRefuses(t *testing.T) {
	n := names{"none.test": {}}
	for host, want := range map[string]string{
		"gone.test:1": "no such host", "none.test:1": "no address", "10.0.0.1": "missing port",
		"10.0.0.1:65536": "bad port", "10.0.0.1:srt": "bad port",
	} {
		r := NewRegistry()
		err := r.AddStatic(t.Context(), []string{host}, n.lookup, noon)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
		if len(r.Snapshot().Backends) != 0 {
			t.Errorf("%s: there is a backend", host)
		}
	}
}

func TestRefresh(t *testing.T) {
	n := names{"a.test": {"10.0.0.1"}}
	r := NewRegistry()
	if err := r.AddStatic(t.Context(), []string{"a.test:1", "10.9.9.9:1"}, n.lookup, noon); err != nil {
		t.Fatal(err)
	}
	r.Put(Backend{ID: "registered", Source: "api", Host: "a.test:1", Addr: netip.MustParseAddrPort("10.7.7.7:1")})
	r.Alive("a.test:1", 4, noon)
	var moved []string
	for _, tt := range []struct {
		name   string
		answer []string // nil: the name server is away
		want   string
	}{
		{"as before", []string{"10.0.0.1"}, ""},
		{"still among them", []string{"10.0.0.9", "10.0.0.1"}, ""},
		{"no answer", nil, ""},
		{"elsewhere", []string{"10.0.0.2", "10.0.0.3"}, "10.0.0.2:1"},
		{"another order", []string{"10.0.0.3", "10.0.0.2"}, "10.0.0.2:1"},
	} {
		if n["a.test"] = tt.answer; tt.answer == nil {
			delete(n, "a.test")
		}
		r.refresh(t.Context(), n.lookup, func(b Backend) { moved = append(moved, b.Addr.String()) })
		if got := strings.Join(moved, " "); got != tt.want {
			t.Errorf("%s: moves %q, want %q", tt.name, got, tt.want)
		}
	}
	if b := find(t, r, "a.test:1"); b.Addr.String() != "10.0.0.2:1" || b.Down || b.KeyLen != 4 {
		t.Errorf("after the move: %+v", b)
	}
	if b := find(t, r, "registered"); b.Addr.String() != "10.7.7.7:1" {
		t.Errorf("a backend that is not static moved: %+v", b)
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := NewRegistry()
		r.Put(Backend{ID: "a", Source: Static, Host: "a.test:1"})
		ctx, cancel := context.WithCancel(t.Context())
		lookups, done := make(chan time.Time), make(chan struct{})
		go func() {
			defer close(done)
			r.Follow(ctx, func(context.Context, string, string) ([]netip.Addr, error) {
				lookups <- time.Now()
				return nil, errors.New("away")
			}, nil)
		}()
		begin := time.Now() // the bubble's clock
		for i := range 3 {
			if got := (<-lookups).Sub(begin); got != RefreshEvery*time.Duration(i+1) {
				t.Errorf("lookup %d after %v", i, got)
			}
		}
		cancel()
		<-done
	})
}
