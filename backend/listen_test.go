package backend

import (
	"net/netip"
	"strings"
	"testing"
)

func TestParseListen(t *testing.T) {
	const peer = "198.51.100.7"
	for _, c := range []struct{ entry, ip, peer, want string }{
		// Every form of a wildcard means the heartbeat's ip.
		{"10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{":10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"0.0.0.0:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"[::]:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"udp://:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"udp://0.0.0.0:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"udp://[::]:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"udp://10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"srt://0.0.0.0:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"SRT://0.0.0.0:10080/", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"[::ffff:0.0.0.0]:10080", "10.0.0.5", peer, "10.0.0.5:10080"},
		{"00080", "10.0.0.5", peer, "10.0.0.5:80"},
		{"65535", "fd00::5", peer, "[fd00::5]:65535"},
		{"10080", "[fd00::5]", peer, "[fd00::5]:10080"},
		{"10080", "::ffff:10.0.0.5", peer, "10.0.0.5:10080"},
		// A concrete host stands.
		{"10.0.0.9:10080", "10.0.0.5", peer, "10.0.0.9:10080"},
		{"udp://[fd00::9]:10080", "10.0.0.5", peer, "[fd00::9]:10080"},
		{"[::ffff:10.0.0.9]:10080", "", peer, "10.0.0.9:10080"},
		{"127.0.0.1:10080", "10.0.0.5", "127.0.0.1", "127.0.0.1:10080"},
		// An ip that leads nowhere means the peer.
		{"10080", "", peer, peer + ":10080"},
		{"10080", "0.0.0.0", peer, peer + ":10080"},
		{"10080", "::", peer, peer + ":10080"},
		{"10080", "239.1.1.1", peer, peer + ":10080"},
		{"10080", "255.255.255.255", peer, peer + ":10080"},
		{"10080", "0.1.2.3", peer, peer + ":10080"},
		{"10080", "ff02::1", peer, peer + ":10080"},
		{"10080", "fe80::1", peer, peer + ":10080"},
		{"10080", "eth0", peer, peer + ":10080"},
		{"10080", "10.0.0.5:1", peer, peer + ":10080"},
		{"10080", "127.0.0.1", peer, peer + ":10080"}, // its own loopback, not ours
		{"10080", "::1", peer, peer + ":10080"},
		{"10080", "127.0.0.1", "127.0.0.1", "127.0.0.1:10080"},
		{"10080", "", "::ffff:198.51.100.7", peer + ":10080"},
		{"10080", "", "fe80::1%1", "[fe80::1%1]:10080"},
	} {
		got, err := ParseListen(c.entry, c.ip, netip.MustParseAddr(c.peer))
		if err != nil || got.String() != c.want {
			t.Errorf("%q, ip %q, peer %s: %v, %v; want %s", c.entry, c.ip, c.peer, got, err, c.want)
		}
	}
}

func TestParseListenRefuses(t *testing.T) {
	for _, c := range []struct{ entry, want string }{
		{"", "port is not a number"},
		{":", "port is not a number"},
		{"srt", "port is not a number"},
		{"-1", "port is not a number"},
		{"+1", "port is not a number"},
		{" 10080", "port is not a number"},
		{"10080/", "port is not a number"},
		{"0", "port is not within"},
		{"0.0.0.0:0", "port is not within"},
		{"65536", "port is not within"},
		{"75616", "port is not within"}, // 10080 in 16 bits
		{"99999999999999999999", "port is not within"},
		{"::10080", "not a port, nor host:port"},
		{"::1:10080", "not a port, nor host:port"},
		{"[::1]", "not a port, nor host:port"},
		{"tcp://0.0.0.0:10080", "scheme is neither"},
		{"rtmp://0.0.0.0:10080", "scheme is neither"},
		{"udp://0.0.0.0:10080/live", "port is not a number"},
		{"origin:10080", "host is not an IP address"},
		{"010.0.0.1:10080", "host is not an IP address"},
		{"239.1.1.1:10080", "can reach"},
		{"255.255.255.255:10080", "can reach"},
		{"0.0.0.1:10080", "can reach"},
		{"[ff02::1]:10080", "can reach"},
		{"[fe80::1]:10080", "can reach"},
		{"127.0.0.1:10080", "can reach"},
		{"[::1]:10080", "can reach"},
		{"[::ffff:127.0.0.1]:10080", "can reach"},
	} {
		got, err := ParseListen(c.entry, "10.0.0.5", netip.MustParseAddr("198.51.100.7"))
		if err == nil || !strings.Contains(err.Error(), c.want) || got.IsValid() {
			t.Errorf("%q: %v, %v; want %q", c.entry, got, err, c.want)
		}
	}
	if got, err := ParseListen("10080", "0.0.0.0", netip.Addr{}); err == nil || !strings.Contains(err.Error(), `ip "0.0.0.0"`) {
		t.Errorf("neither ip nor peer: %v, %v", got, err)
	}
}

// What comes out is one host's address with a port, and reads back as itself.
func FuzzParseListen(f *testing.F) {
	f.Add("udp://0.0.0.0:10080", "10.0.0.5", "198.51.100.7")
	f.Add("[fe80::1%1]:1", "", "fe80::2%2")
	f.Fuzz(func(t *testing.T, entry, ip, from string) {
		peer, _ := netip.ParseAddr(from)
		at, err := ParseListen(entry, ip, peer)
		if err != nil {
			if !strings.Contains(err.Error(), ":") || at.IsValid() {
				t.Fatalf("%q: %v, %v", entry, at, err)
			}
			return
		}
		host := at.Addr()
		if at.Port() == 0 || !host.IsValid() || host.IsUnspecified() || host.IsMulticast() || host.Is4In6() {
			t.Fatalf("%q, ip %q, peer %q: %v", entry, ip, from, at)
		}
		if host.IsLoopback() && peer.IsValid() && !peer.Unmap().IsLoopback() {
			t.Fatalf("%q, ip %q: %v, as said by %v", entry, ip, at, peer)
		}
		for _, form := range []string{at.String(), "udp://" + at.String()} {
			if again, err := ParseListen(form, ip, peer); err != nil || again != at {
				t.Fatalf("%q: %v, then %v, %v", entry, at, again, err)
			}
		}
	})
}
