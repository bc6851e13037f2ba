package rules

import (
	"net/netip"
	"strings"
	"testing"
)

func limited(t *testing.T, text string) *Set {
	t.Helper()
	s, err := Parse("r.yaml", []byte(text), func(string, Dialect) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestLimits(t *testing.T) {
	s := limited(t, `
limits:
  source: {sessions: 10, connects: 2, bitrate: 50Mbps, handshakes: 5}
  subnet: {sessions: 100}
  stream: {players: 50, bitrate: 20Mbps}
  sources:
    - network: 10.0.0.0/8
      source: {sessions: none}
    - network: 10.1.0.0/16
      source: {connects: 7}
      subnet: {sessions: none}
  streams:
    - stream: "live.example.com/*"
      bitrate: 8Mbps
    - stream: "*/live/cam-*"
      players: none
`)
	if !s.LimitsSources() {
		t.Fatal("no limits of sources")
	}
	for ip, want := range map[string][2]SourceLimits{
		"192.0.2.1":       {{10, 5, 2, 50e6}, {Sessions: 100}},
		"10.9.0.1":        {{Unlimited, 5, 2, 50e6}, {Sessions: 100}},
		"10.1.0.1":        {{10, 5, 7, 50e6}, {Sessions: Unlimited}},
		"::ffff:10.1.0.1": {{10, 5, 7, 50e6}, {Sessions: Unlimited}},
		"2001:db8::1":     {{10, 5, 2, 50e6}, {Sessions: 100}},
	} {
		if got := s.SourceLimits(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s: %+v", ip, got)
		}
	}
	for key, want := range map[string]StreamLimits{
		"live.example.com/live/cam-1": {50, 8e6},
		"__defaultVhost__/live/cam-1": {Unlimited, 20e6},
		"__defaultVhost__/live/stage": {50, 20e6},
		"live.example.com":            {50, 20e6},
		"":                            {50, 20e6},
		"x/live/cam-":                 {Unlimited, 20e6},
	} {
		if got := s.StreamLimits(key); got != want {
			t.Errorf("%s: %+v", key, got)
		}
	}
	var none *Set
	if none.LimitsSources() || none.SourceLimits(netip.MustParseAddr("::1")) != [2]SourceLimits{} || none.StreamLimits("x") != (StreamLimits{}) {
		t.Error("no rules have limits")
	}
	if limited(t, "limits: {stream: {players: 1}}").LimitsSources() {
		t.Error("limits of a stream are some of sources")
	}
	if Amount(0).Or(7) != 7 || Unlimited.Or(7) != 0 || Amount(3).Or(7) != 3 {
		t.Error("Or")
	}
}

func TestBadLimits(t *testing.T) {
	for text, want := range map[string]string{
		"limits: []":                                                        `r.yaml:1: key "limits": must be a mapping with keys out of source, sources, stream, streams, subnet`,
		"limits: {source: {session: 1}}":                                    `r.yaml:1: key "limits.source.session": unknown key, not one of bitrate, connects, handshakes, sessions`,
		"limits: {source: {sessions: 0}}":                                   `r.yaml:1: key "limits.source.sessions": "0": not a number from 1 to 1000000000, or none`,
		"limits: {source: {connects: -1}}":                                  `r.yaml:1: key "limits.source.connects": "-1": not a number from 1 to 1000000000, or none`,
		"limits: {subnet: {bitrate: 20}}":                                   `r.yaml:1: key "limits.subnet.bitrate": "20": not a bitrate like 20Mbps, with kbps, Mbps or Gbps`,
		"limits: {sources: [{source: {sessions: 1}}]}":                      `r.yaml:1: key "limits.sources[0]": without network`,
		"limits: {sources: [{network: 10.0.0.0/8}]}":                        `r.yaml:1: key "limits.sources[0]": without source and subnet`,
		"limits: {sources: [{network: 10.0.0.1/8, source: {sessions: 1}}]}": `r.yaml:1: key "limits.sources[0].network": "10.0.0.1/8": has bits behind its prefix, did you mean 10.0.0.0/8?`,
		"limits: {streams: [{players: 1}]}":                                 `r.yaml:1: key "limits.streams[0]": without stream`,
		"limits: {streams: [{stream: a}]}":                                  `r.yaml:1: key "limits.streams[0]": without players and bitrate`,
		"limits: {streams: [{stream: '', players: 1}]}":                     `r.yaml:1: key "limits.streams[0].stream": "": empty`,
		"limits: {streams: [" + strings.Repeat("{stream: a, players: 1},", mostPatterns+1) + "]}": `r.yaml:1: key "limits.streams[1000]": more than 1000 patterns`,
	} {
		_, err := Parse("r.yaml", []byte(text), func(string, Dialect) error { return nil })
		if err == nil || err.Error() != "rules: "+want {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, key string
		want         bool
	}{
		{"a", "a", true},
		{"a", "ab", false},
		{"*", "", true},
		{"*", "x/y", true},
		{"a*", "a", true},
		{"a*", "ba", false},
		{"*a", "ba", true},
		{"*a", "ab", false},
		{"a*b", "ab", true},
		{"a*b", "a", false},
		{"a*a", "a", false},
		{"a*b*c", "axbyc", true},
		{"a*b*c", "acb", false},
		{"**", "x", true},
		{"*b*b*", "ab", false},
		{"*b*b*", "abb", true},
		{"*ab*ab", "abab", true},
		{"*ab*ab", "aab", false},
	} {
		if got := matches(c.pattern, c.key); got != c.want {
			t.Errorf("%q, %q: %v", c.pattern, c.key, got)
		}
	}
}

// A pattern matches as a search without shortcuts does.
func FuzzPattern(f *testing.F) {
	f.Add("a*b*c", "axbyc")
	f.Add("**", "")
	f.Add("*ab*ab", "aab")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(pattern) > 40 || len(key) > 40 {
			return
		}
		if got, want := matches(pattern, key), slowly(pattern, key); got != want {
			t.Fatalf("%q, %q: %v", pattern, key, got)
		}
	})
}

// slowly has in row i whether the first i bytes of the pattern match each beginning of the key.
func slowly(pattern, key string) bool {
	row := make([]bool, len(key)+1)
	row[0] = true
	for i := range len(pattern) {
		next := make([]bool, len(key)+1)
		for k := range next {
			if pattern[i] == '*' {
				next[k] = row[k] || k > 0 && next[k-1]
			} else {
				next[k] = k > 0 && row[k-1] && key[k-1] == pattern[i]
			}
		}
		row = next
	}
	return row[len(key)]
}
