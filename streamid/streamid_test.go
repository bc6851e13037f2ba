package streamid

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// The table that the relay shares with other tools: every row, whatever is
// added to it.
func TestStreamIDTable(t *testing.T) {
	table, err := os.ReadFile("testdata/streamids.tsv")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for line := range strings.Lines(string(table)) {
		line = strings.TrimRight(line, "\r\n")
		cells := strings.Split(line, "\t")
		// A stream ID may begin with "#" too; a comment has no tabs.
		if len(cells) == 1 {
			continue
		}
		if len(cells) != 3 {
			t.Fatalf("row %q has %d cells", line, len(cells))
		}
		rows++
		text, key, mode := cells[0], cells[1], cells[2]
		if text == "(empty)" {
			text = ""
		}
		id, err := parseSRS(text)
		switch mode {
		case "reject":
			if err == nil {
				t.Errorf("%q is accepted as %q", text, id.Key())
			}
		case "publish", "request":
			if err != nil || id.Key() != key || id.Publish != (mode == "publish") {
				t.Errorf("%q: key %q, publish %v, %v; want %q, %s", text, id.Key(), id.Publish, err, key, mode)
			}
		default:
			t.Errorf("%q: unknown mode %q", text, mode)
		}
	}
	if rows < 25 {
		t.Errorf("the table has %d rows", rows)
	}
}

// What SRS's own parser was seen to make of each.
func TestStreamIDParts(t *testing.T) {
	const P, L = true, false
	tests := []struct {
		s    string
		want StreamID
	}{
		{"", StreamID{"", "live", "livestream", "", P}},
		{"livestream", StreamID{"", "live", "livestream", "", L}},
		{"live/livestream?secret=abc", StreamID{"", "live", "livestream", "secret=abc", L}},
		{"a/b/c", StreamID{"", "a", "b/c", "", L}},
		{"vhost.com/live/x", StreamID{"", "vhost.com", "live/x", "", L}},
		{"#!::r=live/livestream", StreamID{"", "live", "livestream", "", L}},
		{"#!::m=PUBLISH,r=live/livestream", StreamID{"", "live", "livestream", "", P}},
		{"#!::r=livestream,m=publish", StreamID{"", "live", "livestream", "", P}},
		{"#!::h=host.com,r=live/x,m=publish", StreamID{"host.com", "live", "x", "vhost=host.com", P}},
		{"#!::h=live/livestream,m=publish", StreamID{"", "live", "livestream", "", P}},
		{"#!::h=v.com/live/x,m=publish", StreamID{"v.com", "live", "x", "vhost=v.com", P}},
		{"#!::h=a.com,r=live/x?secret=k,m=request", StreamID{"a.com", "live", "x", "vhost=a.com&secret=k", L}},
		{"#!::r=live/x;m=publish", StreamID{"", "live", "x", "", P}},
		{"#!::u=joe,s=1,t=stream,r=live/x", StreamID{"", "live", "x", "s=1&t=stream&u=joe", L}},
		{"#!::user=x,r=live/a,m=publish", StreamID{"", "live", "a", "user=x", P}},
		{"#!::r=live/a,r=live/b", StreamID{"", "live", "b", "", L}},
		{"#!::r=live/a.flv", StreamID{"", "live", "a.flv", "", L}},
		{"#!::r=live%2Fa,m=publish", StreamID{"", "live", "live%2Fa", "", P}},

		// Every separator parts keys and values alike.
		{"#!::r=live/x&m=publish", StreamID{"", "live", "x", "", P}},
		{"#!::r=live/x&&m=publish", StreamID{"", "live", "x", "", P}},
		{"#!::r,live/x,m,publish", StreamID{"", "live", "x", "", P}},
		// Three are one and one: an empty item shifts the rest.
		{"#!::r=live/x&&&m=publish", StreamID{"", "live", "x", "=m&publish=", L}},
		{"#!::r=live/x,,m=publish", StreamID{"", "live", "x", "=m&publish=", L}},
		{"#!::r=live/x?,m=publish", StreamID{"", "live", "x", "=m&publish=", L}},
		{"#!::r=live/x;;m=publish", StreamID{"", "live", "x", "=m&publish=", L}},
		// An empty item at the very end is none.
		{"#!::r=live/x,", StreamID{"", "live", "x", "", L}},
		{"#!::r=live/x,,", StreamID{"", "live", "x", "=", L}},
		// The last duplicate wins, in modes and parameters too.
		{"#!::m=publish,r=a/b,m=request,k=1,k=2", StreamID{"", "a", "b", "k=2", L}},
		// r beats h wherever it stands, and the case of a key counts.
		{"#!::r=a/b,h=c/d", StreamID{"", "a", "b", "", L}},
		{"#!::r=a/b,M=publish,R=x", StreamID{"", "a", "b", "M=publish&R=x", L}},
		{"#!::h=,r=a/b", StreamID{"", "a", "b", "vhost=", L}},
		{"#!::h=v.com/a/b/c", StreamID{"v.com", "a", "b/c", "vhost=v.com", L}},
		// The path is split before the parameters are cut off.
		{"#!::r=x,k=a/b", StreamID{"", "x?k=a", "b", "", L}},
		{"#!::r=x,k=a/b?c", StreamID{"", "x?c=&k=a", "b", "", L}},
		// A prefix elsewhere is none.
		{"x#!::r=a/b", StreamID{"", "x#!::r=a", "b", "", L}},
		{"#!:{r=a", StreamID{"", "live", "#!:{r=a", "", L}},
		{"x?k=a/b", StreamID{"", "x?k=a", "b", "", L}},
	}
	for _, tt := range tests {
		if got, err := parseSRS(tt.s); err != nil || got != tt.want {
			t.Errorf("%q:\n got %+v, %v\nwant %+v", tt.s, got, err, tt.want)
		}
	}
}

func TestStreamIDRejected(t *testing.T) {
	for s, want := range map[string]error{
		"#!::r=live/x,m=bidirectional": errMode,
		"#!::r=live/x,m":               errMode,
		"#!::r=live/x,m=":              errMode,
		"#!::r=live/x,m=publiſh":       errMode, // SRS folds ASCII only
		"#!::r=live/x,m=publish,m=x":   errMode,
		"#!::h=host.com,m=publish":     errResource,
		"#!::r=,m=publish":             errResource,
		"#!::":                         errResource,
		"#!::m=publish":                errResource,
		"#!::h=a/b,r=":                 errResource, // r beats h even when empty
	} {
		if id, err := parseSRS(s); !errors.Is(err, want) {
			t.Errorf("%q: %+v, %v; want %v", s, id, err, want)
		}
	}
}

func TestKey(t *testing.T) {
	tests := []struct {
		id   StreamID
		want string
	}{
		{StreamID{App: "live", Stream: "x"}, "__defaultVhost__/live/x"},
		{StreamID{Vhost: "host", App: "live", Stream: "x"}, "__defaultVhost__/live/x"},
		{StreamID{Vhost: "10.0.0.1", App: "live", Stream: "x"}, "__defaultVhost__/live/x"},
		{StreamID{Vhost: "v.com", App: "live", Stream: "x"}, "v.com/live/x"},
		{StreamID{Vhost: "1.2.3.com", App: "live", Stream: "x"}, "1.2.3.com/live/x"},
		{StreamID{App: "live.x", Stream: "a.b.flv"}, "__defaultVhost__/live.x/a.b"},
		{StreamID{App: "live", Stream: ".flv"}, "__defaultVhost__/live/"},
		{StreamID{App: "a", Stream: "b.c/d"}, "__defaultVhost__/a/b"},
		{StreamID{}, "__defaultVhost__//"},
	}
	for _, tt := range tests {
		if got := tt.id.Key(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.id, got, tt.want)
		}
	}
}
