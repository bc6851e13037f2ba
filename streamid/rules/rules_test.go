package rules

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

// strict refuses what a test writes as bad, as SRS would.
func strict(streamID string, _ Dialect) error {
	if strings.Contains(streamID, "bad") {
		return errors.New("SRS would refuse it")
	}
	return nil
}

func parse(t *testing.T, text string) *Set {
	t.Helper()
	s, err := Parse("r.yaml", []byte(text), strict)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func from(ip string) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), 5000) }

const everyOrigin = `
default: of-default
ports: [{port: 1001, stream-id: of-port}, {port: 1002, stream-id: of-forced-port, override: true}]
sources:
  - {network: 10.0.0.0/8, stream-id: of-ten}
  - {network: 10.1.0.0/16, stream-id: of-ten-one, override: true}
  - {network: 10.1.2.0/24, stream-id: of-ten-one-two}
  - {network: 10.1.2.3, stream-id: of-host, override: true}
  - {network: "2001:db8::/32", stream-id: of-six}
  - {network: "2001:db8:1::/48", stream-id: of-six-one, override: true}
  - {network: "fe80::/10", stream-id: of-link}
`

func TestPrecedence(t *testing.T) {
	s := parse(t, everyOrigin)
	for _, c := range []struct {
		ip   string
		port uint16
		sent string
		want Verdict
	}{
		{"192.0.2.1", 1000, "x", Verdict{"x", OriginSent, false}},
		{"192.0.2.1", 1000, "", Verdict{"of-default", OriginDefault, true}},
		{"192.0.2.1", 1001, "", Verdict{"of-port", OriginPort, true}},
		{"192.0.2.1", 1001, "x", Verdict{"x", OriginSent, false}},
		{"192.0.2.1", 1002, "x", Verdict{"of-forced-port", OriginPort, true}},
		{"192.0.2.1", 1002, "of-forced-port", Verdict{"of-forced-port", OriginPort, false}},
		{"10.9.9.9", 1001, "", Verdict{"of-ten", OriginSource, true}},
		{"10.9.9.9", 1001, "x", Verdict{"x", OriginSent, false}},
		{"10.9.9.9", 1002, "", Verdict{"of-forced-port", OriginPort, true}},
		{"10.1.9.9", 1001, "x", Verdict{"of-ten-one", OriginSource, true}},
		{"10.1.9.9", 1002, "x", Verdict{"of-ten-one", OriginSource, true}},
		// A narrow entry exempts from a wide one's override.
		{"10.1.2.9", 1000, "x", Verdict{"x", OriginSent, false}},
		{"10.1.2.9", 1000, "", Verdict{"of-ten-one-two", OriginSource, true}},
		{"10.1.2.3", 1000, "x", Verdict{"of-host", OriginSource, true}},
		{"::ffff:10.1.2.3", 1000, "x", Verdict{"of-host", OriginSource, true}},
		{"2001:db8:9::1", 1000, "", Verdict{"of-six", OriginSource, true}},
		{"2001:db8:1::1", 1000, "x", Verdict{"of-six-one", OriginSource, true}},
		{"fe80::1%2", 1000, "", Verdict{"of-link", OriginSource, true}},
	} {
		got := s.Apply(Request{ListenPort: c.port, Caller: from(c.ip), StreamID: c.sent})
		if got != c.want {
			t.Errorf("%s to %d with %q: %+v, want %+v", c.ip, c.port, c.sent, got, c.want)
		}
	}
}

func TestDefaultThatOverrides(t *testing.T) {
	s := parse(t, "default: {stream-id: all, override: true}\nports: [{port: 1, stream-id: p}, {port: 2, stream-id: q, override: true}]")
	for port, want := range map[uint16]Verdict{
		9: {"all", OriginDefault, true}, 1: {"all", OriginDefault, true}, 2: {"q", OriginPort, true},
	} {
		if got := s.Apply(Request{ListenPort: port, Caller: from("192.0.2.1"), StreamID: "x"}); got != want {
			t.Errorf("port %d: %+v, want %+v", port, got, want)
		}
	}
}

func TestNoRules(t *testing.T) {
	for name, s := range map[string]*Set{"nil": nil, "empty": parse(t, "# nothing\n"), "null": parse(t, "---\n")} {
		if got := s.Apply(Request{StreamID: "x"}); got != (Verdict{"x", OriginSent, false}) {
			t.Errorf("%s: %+v", name, got)
		}
		if got := s.Apply(Request{}); got != (Verdict{"", OriginNone, false}) {
			t.Errorf("%s: %+v", name, got)
		}
		if !s.Admits(true, netip.Addr{}) || !s.Admits(false, from("10.0.0.1").Addr()) || !s.KnowsVhost("v.com") || s.Injection() != (Injection{}) {
			t.Errorf("%s: it has rules", name)
		}
	}
	if (*Live)(nil).Set() != nil || new(Live).Set() != nil {
		t.Error("a Live without a set has one")
	}
}

func TestAdmits(t *testing.T) {
	for _, c := range []struct{ access, in, out string }{
		{"allow: [10.0.0.0/8]", "10.1.1.1 ::ffff:10.1.1.1", "192.0.2.1 2001:db8::1"},
		{"deny: [10.0.0.0/8]", "192.0.2.1 2001:db8::1", "10.1.1.1"},
		// The narrowest decides, whichever list it is on.
		{"allow: [10.0.0.0/8]\n    deny: [0.0.0.0/0, '::/0']", "10.1.1.1", "192.0.2.1 2001:db8::1"},
		{"allow: [10.0.0.0/8]\n    deny: [10.1.0.0/16]", "10.2.1.1", "10.1.1.1 192.0.2.1"},
		{"allow: [10.1.2.3, 'fe80::/10']\n    deny: [10.1.2.0/24]", "10.1.2.3 fe80::1%3", "10.1.2.4"},
	} {
		for _, mode := range []string{"publish", "play"} {
			s := parse(t, "access:\n  "+mode+":\n    "+c.access)
			publish := mode == "publish"
			for _, ip := range strings.Fields(c.in) {
				if !s.Admits(publish, netip.MustParseAddr(ip)) {
					t.Errorf("%s of %q: %s is refused", mode, c.access, ip)
				}
			}
			for _, ip := range strings.Fields(c.out) {
				if s.Admits(publish, netip.MustParseAddr(ip)) {
					t.Errorf("%s of %q: %s is admitted", mode, c.access, ip)
				}
				if !s.Admits(!publish, netip.MustParseAddr(ip)) {
					t.Errorf("%s of %q: %s is refused in the other mode", mode, c.access, ip)
				}
			}
		}
	}
}

func TestVhosts(t *testing.T) {
	s := parse(t, "vhosts: [a.com, __defaultVhost__]")
	for vhost, want := range map[string]bool{"a.com": true, "A.com": false, "b.com": false, "": false} {
		if s.KnowsVhost(vhost) != want {
			t.Errorf("%q known: %v, want %v", vhost, !want, want)
		}
	}
}

func TestInjectedValue(t *testing.T) {
	for _, c := range []struct{ ip, bare, port string }{
		{"192.0.2.1", "192.0.2.1", "192.0.2.1:5000"},
		{"::ffff:192.0.2.1", "192.0.2.1", "192.0.2.1:5000"},
		{"2001:db8::1", "2001:db8::1", "[2001:db8::1]:5000"},
		{"fe80::1%2", "fe80::1", "[fe80::1]:5000"},
	} {
		if got := (Injection{Key: "k"}).Value(from(c.ip)); got != c.bare {
			t.Errorf("%s: %s, want %s", c.ip, got, c.bare)
		}
		if got := (Injection{Key: "k", Port: true}).Value(from(c.ip)); got != c.port {
			t.Errorf("%s: %s, want %s", c.ip, got, c.port)
		}
	}
	if got := parse(t, "inject-address: {key: caller, port: true}").Injection(); got != (Injection{"caller", true}) {
		t.Errorf("%+v", got)
	}
}
