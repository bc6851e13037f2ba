package rules

import (
	"os"
	"strings"
	"testing"
)

// Each bad file gives exactly this line.
func TestBadFiles(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"- a", `r.yaml:1: must be a mapping with keys out of access, default, dialect, inject-address, limits, ports, sources, vhosts`},
		{"x", `r.yaml:1: must be a mapping with keys out of access, default, dialect, inject-address, limits, ports, sources, vhosts`},
		{"\nport: []", `r.yaml:2: key "port": unknown key, not one of access, default, dialect, inject-address, limits, ports, sources, vhosts`},
		{"? [a]\n: b", `r.yaml:1: unknown key, not one of access, default, dialect, inject-address, limits, ports, sources, vhosts`},
		{"default: a\ndefault: b", `r.yaml:2: key "default": set twice`},
		{"default: a\n---\ndefault: b", `r.yaml:2: more than one document`},
		{"ports: [1", `r.yaml:1: did not find expected ',' or ']'`},
		{"default: \x01", `r.yaml: control characters are not allowed`},
		{strings.Repeat("#", maxFile+1), `r.yaml: larger than 1048576 bytes`},

		// Stream IDs.
		{"default: #!::r=a/b", `r.yaml:1: key "default": value missing; a stream ID that begins with # needs quotes`},
		{"default: ''", `r.yaml:1: key "default": "": empty`},
		{"default: bad", `r.yaml:1: key "default": "bad": SRS would refuse it`},
		{"default: \"a\\0b\"", `r.yaml:1: key "default": "a\x00b": contains a NUL`},
		{"default: " + strings.Repeat("x", 512), `r.yaml:1: key "default": longer than 511 bytes`},
		{"default: [a]", `r.yaml:1: key "default": must be one plain value`},
		{"default: {override: true}", `r.yaml:1: key "default": without stream-id`},
		{"default: {stream-id: a, override: yes}", `r.yaml:1: key "default.override": "yes": not true or false`},
		{"x: &a b\ndefault: *a", `r.yaml:1: key "x": unknown key, not one of access, default, dialect, inject-address, limits, ports, sources, vhosts`},
		{"vhosts: [&a v.com]\ndefault: *a", `r.yaml:2: key "default": must be one plain value`},

		// Dialects.
		{"dialect: SRS", `r.yaml:1: key "dialect": "SRS": not one of auto, srs, mediamtx, plain`},
		{"dialect: [srs]", `r.yaml:1: key "dialect": must be one plain value`},
		{"dialect: srs\ndialect: srs", `r.yaml:2: key "dialect": set twice`},
		{"default: {stream-id: a, dialect: srs}", `r.yaml:1: key "default.dialect": unknown key, not one of override, stream-id`},
		{"ports: [{port: 1, dialect: mtx}]", `r.yaml:1: key "ports[0].dialect": "mtx": not one of auto, srs, mediamtx, plain`},
		{"ports: [{port: 1, dialect: srs, override: true}]", `r.yaml:1: key "ports[0]": without stream-id`},
		{"sources: [{dialect: srs}]", `r.yaml:1: key "sources[0]": without network`},

		// Ports.
		{"ports: {}", `r.yaml:1: key "ports": must be a list`},
		{"ports: []", `r.yaml:1: key "ports": lists nothing, leave the key out`},
		{"ports:", `r.yaml:1: key "ports": must be a list`},
		{"ports: [1]", `r.yaml:1: key "ports[0]": must be a mapping with keys out of dialect, override, port, stream-id`},
		{"ports:\n  - port: 70000\n    stream-id: a", `r.yaml:2: key "ports[0].port": "70000": not a port from 1 to 65535`},
		{"ports:\n  - port: 0\n    stream-id: a", `r.yaml:2: key "ports[0].port": "0": not a port from 1 to 65535`},
		{"ports:\n  - port: 1", `r.yaml:2: key "ports[0]": without stream-id`},
		{"ports:\n  - stream-id: a", `r.yaml:2: key "ports[0]": without port`},
		{"ports:\n  - port: 1\n    stream-id: a\n  - stream-id: b\n    port: 1", `r.yaml:5: key "ports[1].port": listed twice`},

		// Networks.
		{"sources:\n  - stream-id: a", `r.yaml:2: key "sources[0]": without network`},
		{"sources:\n  - network: 10.0.0.1/8\n    stream-id: a", `r.yaml:2: key "sources[0].network": "10.0.0.1/8": has bits behind its prefix, did you mean 10.0.0.0/8?`},
		{"sources:\n  - network: 10.0.0.0/8\n    stream-id: a\n  - network: 10.0.0.0/8\n    stream-id: b", `r.yaml:4: key "sources[1].network": "10.0.0.0/8": listed twice`},
		{"sources: [{network: origin, stream-id: a}]", `r.yaml:1: key "sources[0].network": "origin": not a network, write it like 10.0.0.0/8 or 2001:db8::/32`},
		{"sources: [{network: 10.0.0.0/33, stream-id: a}]", `r.yaml:1: key "sources[0].network": "10.0.0.0/33": not a network, write it like 10.0.0.0/8 or 2001:db8::/32`},
		{"sources: [{network: 'fe80::1%eth0', stream-id: a}]", `r.yaml:1: key "sources[0].network": "fe80::1%eth0": a network has no zone`},
		{"sources: [{network: '::ffff:10.0.0.0/104', stream-id: a}]", `r.yaml:1: key "sources[0].network": "::ffff:10.0.0.0/104": write it as an IPv4 network`},
		{"access: {watch: {}}", `r.yaml:1: key "access.watch": unknown key, not one of play, publish`},
		{"access: {play: {allow: []}}", `r.yaml:1: key "access.play.allow": lists nothing, leave the key out`},
		{"access:\n  play:\n    allow: [10.0.0.0/8]\n    deny:\n      - 10.0.0.0/8", `r.yaml:5: key "access.play.deny[0]": "10.0.0.0/8": listed twice`},

		// The rest.
		{"vhosts: [a.com, a.com]", `r.yaml:1: key "vhosts[1]": "a.com": listed twice`},
		{"vhosts: [a.com/live]", `r.yaml:1: key "vhosts[0]": "a.com/live": not the name of a vhost`},
		{"inject-address: caller", `r.yaml:1: key "inject-address": must be a mapping with keys out of key, port`},
		{"inject-address: {}", `r.yaml:1: key "inject-address": without key`},
		{"inject-address: {key: R}", `r.yaml:1: key "inject-address.key": "R": means something else in a stream ID`},
		{"inject-address: {key: a=b}", `r.yaml:1: key "inject-address.key": "a=b": takes letters, digits, - and _`},
		{"inject-address: {key: ''}", `r.yaml:1: key "inject-address.key": "": takes letters, digits, - and _`},
		{"inject-address: {key: " + strings.Repeat("k", 33) + "}", `r.yaml:1: key "inject-address.key": "` + strings.Repeat("k", 33) + `": longer than 32 bytes`},
	} {
		s, err := Parse("r.yaml", []byte(c.text), strict)
		if err == nil || s != nil {
			t.Errorf("%q accepted, want %s", c.text, c.want)
		} else if err.Error() != "rules: "+c.want {
			t.Errorf("got  %s\nwant rules: %s", err, c.want)
		}
	}
}

// The file that the documentation shows is one that works.
func TestExample(t *testing.T) {
	text, err := os.ReadFile("../../docs/rules.example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, string(text))
	if s.fallback == nil || len(s.ports) == 0 || len(s.sources.entries) == 0 || len(s.vhosts) == 0 ||
		!s.publish.listed || len(s.play.verdicts.entries) == 0 || s.inject.Key == "" {
		t.Errorf("it does not show everything: %+v", s)
	}
}

// Whatever a file holds, Parse answers with a set or with one line.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		everyOrigin,
		"access: {publish: {allow: [10.0.0.0/8], deny: ['::/0']}}\nvhosts: [a.com]\ninject-address: {key: k, port: false}",
		"default: &a b\nports: *a", "<<: {default: a}", "? {a: b}\n: c", "- [", "%YAML 1.1\n---\n", "default: !!binary Zm9v",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Parse("r.yaml", []byte(text), strict)
		if (s == nil) != (err != nil) {
			t.Fatalf("%v, %v", s, err)
		}
		if err != nil {
			if strings.Contains(err.Error(), "\n") || !strings.HasPrefix(err.Error(), "rules: r.yaml:") {
				t.Fatalf("%q", err)
			}
			return
		}
		for _, ip := range []string{"10.1.2.3", "fe80::1%2"} {
			v := s.Apply(Request{ListenPort: 1001, Caller: from(ip)})
			if len(v.StreamID) > MaxStreamID || strings.ContainsRune(v.StreamID, 0) {
				t.Fatalf("%q", v.StreamID)
			}
			s.Admits(true, from(ip).Addr())
		}
	})
}
