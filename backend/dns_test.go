package backend

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"srtrelay/internal/dnstest"
)

// findOnce looks a name up once, as its loop does.
func findOnce(t *testing.T, r *Registry, resolver *net.Resolver, host string, patience time.Duration) (addrs []string, err error) {
	t.Helper()
	e, err := parseEndpoint(host)
	if err != nil {
		t.Fatal(err)
	}
	l := nameLoop{
		nameResolver: &nameResolver{
			registry: r, options: ResolveOptions{Lookup: resolver.LookupNetIP, LookupSRV: resolver.LookupSRV}, slots: make(chan struct{}, maxLookups),
		},
		host: host, endpoint: e, targets: map[string][]foundAt{},
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	found, err := l.find(ctx)
	for _, f := range found {
		addrs = append(addrs, fmt.Sprintf("%s/%d/%d", f.addr, f.weight, f.backup))
	}
	slices.Sort(addrs)
	return addrs, err
}

// What a real name server answers, and how it fails, over a real resolver.
func TestRealNameServer(t *testing.T) {
	s := dnstest.Open(t)
	r := statics(t, "a.test:1")
	ask := func(host string, want ...string) {
		t.Helper()
		if got, err := findOnce(t, r, s.Resolver(), host, time.Minute); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %q, %v, want %q", host, got, err, want)
		}
	}
	fail := func(host, want string) {
		t.Helper()
		if got, err := findOnce(t, r, s.Resolver(), host, time.Minute); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %q", host, got, err, want)
		}
	}
	s.Set("a.test", "10.0.0.1", "10.0.0.2")
	ask("a.test:1", "10.0.0.1:1/0/0", "10.0.0.2:1/0/0")
	s.Set("six.test", "fd00::1", "fd00::2")
	ask("six.test:1", "[fd00::1]:1/0/0", "[fd00::2]:1/0/0")
	fail("gone.test:1", "name does not resolve: no such host")
	s.Set("empty.test")
	fail("empty.test:1", "name does not resolve: no such host")

	// More than fits into a datagram.
	var many, want []string
	for i := range 300 {
		ip := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		many, want = append(many, ip.String()), append(want, netip.AddrPortFrom(ip, 1).String()+"/0/0")
	}
	slices.Sort(want)
	s.Set("many.test", many...)
	ask("many.test:1", want...)

	s.SetSRV("_srt._udp.a.test", net.SRV{Priority: 1, Weight: 2, Port: 10, Target: "a.test."}, net.SRV{Priority: 2, Weight: 4, Port: 20, Target: "a.test."})
	ask("srv://_srt._udp.a.test", "10.0.0.1:10/1/0", "10.0.0.1:20/2/1", "10.0.0.2:10/1/0", "10.0.0.2:20/2/1")
	fail("srv://_srt._udp.gone.test", "name does not resolve: no such host")

	s.SetMode(dnstest.Failing)
	fail("a.test:1", "name does not resolve: server misbehaving")
	s.SetMode(dnstest.Stalling)
	if _, err := findOnce(t, r, s.Resolver(), "a.test:1", 200*time.Millisecond); err == nil || !strings.Contains(err.Error(), "the name server does not answer") {
		t.Errorf("a server that stalls: %v", err)
	}
	resolver := s.Resolver()
	s.Close()
	if _, err := findOnce(t, r, resolver, "a.test:1", time.Minute); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("a server that has died: %v", err)
	}
}
