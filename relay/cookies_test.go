package relay

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"srtrelay/addr"
	"srtrelay/balancer/redis"
	"srtrelay/config"
	"srtrelay/handshake"
	"srtrelay/shard/relays"
)

// secretText is a secret of a file.
var secretText = strings.Repeat("s3cret!", 6)

func TestSecretFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		path, wrong string
	}{
		{file("good", secretText+"\n", 0o600), ""},
		{file("group", secretText+"\n", 0o440), ""},
		{file("world", secretText+"\n", 0o644), "mode is 0644"},
		{file("written", secretText+"\n", 0o660), "mode is 0660"},
		{file("short", "short\n", 0o600), "line 1"},
		{file("empty", "", 0o600), "no secret"},
		{file("long", strings.Repeat("x", maxSecretFile+1), 0o600), "longer than"},
		{filepath.Join(dir, "missing"), "no such file"},
		{dir, "regular file"},
	} {
		all, err := readSecrets(config.Config{CookieSecretFile: c.path})
		switch {
		case c.wrong == "" && (err != nil || len(all) != 1):
			t.Errorf("%s: %v", c.path, err)
		case c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong) || !strings.Contains(err.Error(), c.path)):
			t.Errorf("%s: %v, want %q", c.path, err, c.wrong)
		case err != nil && strings.Contains(err.Error(), "s3cret"):
			t.Errorf("%s: the error quotes a secret: %v", c.path, err)
		}
	}
}

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
