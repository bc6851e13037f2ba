package relay

import (
	"net/netip"
	"slices"
	"testing"

	"srtrelay/addr"
	"srtrelay/balancer/redis"
	"srtrelay/handshake"
	"srtrelay/shard/relays"
)

// The secrets of the file are in force alone; without a file those of Redis are.
func TestWhichSecretsAreInForce(t *testing.T) {
	s := &cookieSecrets{live: new(handshake.SharedSecrets)}
	want := func(what string, all ...handshake.Secret) {
		t.Helper()
		if got := s.live.Load(); !slices.Equal(got, all) {
			t.Errorf("%s: %d secrets in force, want %d", what, len(got), len(all))
		}
	}
	want("at first")
	s.setRedis([]redis.Secret{{1}, {2}})
	want("those of Redis", handshake.Secret{1}, handshake.Secret{2})
	s.setFile([]handshake.Secret{{3}})
	want("those of the file", handshake.Secret{3})
	s.setRedis([]redis.Secret{{4}})
	want("still", handshake.Secret{3})
	s.setFile(nil)
	want("those of Redis again", handshake.Secret{4})
}

func TestListenerOfADatagram(t *testing.T) {
	fronts := []netip.AddrPort{
		netip.MustParseAddrPort("[::]:20080"),
		{},
		netip.MustParseAddrPort("203.0.113.1:20081"),
		netip.MustParseAddrPort("0.0.0.0:20081"), netip.MustParseAddrPort("0.0.0.0:20082"),
		netip.MustParseAddrPort("203.0.113.9:20084"),
	}
	ip := func(s string) addr.IP { return addr.FromIP(netip.MustParseAddr(s)) }
	for _, c := range []struct {
		listener uint16
		local    addr.IP
		front    int
		dialled  addr.IP
	}{
		{20080, ip("203.0.113.1"), 0, ip("203.0.113.1")},
		{20080, ip("2001:db8::1"), 0, ip("2001:db8::1")},
		{20081, ip("203.0.113.1"), 2, addr.IP{}},
		{20081, ip("203.0.113.2"), 3, ip("203.0.113.2")},
		{20082, ip("2001:db8::1"), -1, addr.IP{}},
		{20084, ip("203.0.113.1"), 5, addr.IP{}},
		{20083, ip("203.0.113.1"), -1, addr.IP{}},
		{0, ip("203.0.113.1"), -1, addr.IP{}},
	} {
		front, local := frontOf(fronts, relays.Datagram{Listener: c.listener, Local: c.local})
		if front != c.front || local != c.dialled {
			t.Errorf("port %d, address %v: listener %d, %v", c.listener, c.local.Netip(), front, local)
		}
	}
}
