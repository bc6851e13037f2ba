package takeover

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxName+1)
	for text, want := range map[string]string{
		`{"kind":"READY"}`:                   "",
		`{"kind":"READY","later":{"a":[1]}}`: "",
		`{"kind":"READY"`:                    "not a message",
		`[]`:                                 "not a message",
		``:                                   "not a message",
		`{"kind":"ready"}`:                   "unknown message",
		`{}`:                                 "unknown message",
		`{"kind":"FILES","files":[{"shard":-1}]}`:                               "out of bounds",
		`{"kind":"FILES","files":[{"index":-1}]}`:                               "out of bounds",
		`{"kind":"FILES","files":[{"kind":"` + long + `"}]}`:                    "out of bounds",
		`{"kind":"SNAPSHOT","parts":[{"size":-1}]}`:                             "out of bounds",
		`{"kind":"SNAPSHOT","parts":[{"size":9999999999}]}`:                     "out of bounds",
		`{"kind":"SNAPSHOT","parts":[{"name":"` + long + `"}]}`:                 "out of bounds",
		`{"kind":"SNAPSHOT","parts":[{"shard":-1}]}`:                            "out of bounds",
		`{"kind":"FILES","files":[` + strings.Repeat("{},", maxFiles) + `{}]}`:  "too long a list",
		`{"kind":"HELLO","snapshots":[` + strings.Repeat("1,", maxList) + `1]}`: "too long a list",
	} {
		_, err := decode([]byte(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: %v, want %q", text, err, want)
		}
	}
	m, err := decode([]byte(`{"kind":"REFUSED","reason":"a\nb` + strings.Repeat("c", maxReason) + `"}`))
	if err != nil || len(m.Reason) > maxReason+3 || !strings.HasPrefix(m.Reason, "a bc") {
		t.Errorf("%v %.20q", err, m.Reason)
	}
}

func FuzzDecode(f *testing.F) {
	for _, m := range []*message{
		{Kind: kindHello, Min: 1, Max: 2, Snapshots: []int{1}, Version: "v", Settings: map[string]string{"a": "b"}, Clock: 1},
		{Kind: kindFiles, Files: []File{{Kind: "front", Shard: 1, Index: 2, Name: "n"}}, More: true},
		{Kind: kindSnapshot, Parts: []partHeader{{"shard", 1, 5, 7}}, FrozenAt: 3},
		{Kind: kindRefused, Reason: "no"},
	} {
		b, err := encode(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		if n := m.descriptors(); n < 0 || n > maxFiles {
			t.Fatalf("%d descriptors", n)
		}
		again, err := encode(m)
		if err != nil {
			return // printable text may take more bytes
		}
		same, err := decode(again)
		if err != nil {
			t.Fatalf("%s becomes %s: %v", b, again, err)
		}
		// The reason may be cut again, and empty lists vanish.
		if same.Kind != m.Kind || same.Clock != m.Clock || len(same.Files) != len(m.Files) ||
			len(m.Parts) > 0 && !reflect.DeepEqual(same.Parts, m.Parts) {
			t.Fatalf("%+v becomes %+v", m, same)
		}
	})
}

func TestEncodeBounds(t *testing.T) {
	t.Parallel()
	full := message{Kind: kindFiles, More: true}
	for range maxFiles {
		full.Files = append(full.Files, File{Kind: "front", Shard: 1023, Index: 255, Name: "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%interface1234567]:65535"})
	}
	if _, err := encode(&full); err != nil {
		t.Error(err)
	}
	if _, err := encode(&message{Kind: kindRefused, Reason: strings.Repeat("x", maxMessage)}); err == nil {
		t.Error("a message that is too long was encoded")
	}
}

func TestWelcome(t *testing.T) {
	t.Parallel()
	offer := Offer{
		Version: "old", Settings: map[string]string{"shards": "4", "older": "x"}, Snapshots: []int{2, 3},
		Facts: func() map[string]string { return map[string]string{"sessions": "7"} },
	}
	for name, c := range map[string]struct {
		change func(*message)
		want   string // the refusal
		chosen int
	}{
		"same":               {func(*message) {}, "", 3},
		"older snapshot":     {func(m *message) { m.Snapshots = []int{1, 2} }, "", 2},
		"later protocol too": {func(m *message) { m.Max = protocolMax + 1 }, "", 3},
		"other setting":      {func(m *message) { m.Settings = map[string]string{"newer": "y", "shards": "4"} }, "", 3},
		"shards":             {func(m *message) { m.Settings = map[string]string{"shards": "8"} }, `shards may not differ: it is "4" here and "8" in the new process`, 0},
		"later protocol":     {func(m *message) { m.Min, m.Max = protocolMax+1, protocolMax+2 }, "it speaks versions 2 to 3 of the protocol, this one 1 to 1", 0},
		"no protocol":        {func(m *message) { m.Min, m.Max = 0, 0 }, "it speaks versions 0 to 0", 0},
		"snapshots":          {func(m *message) { m.Snapshots = []int{4} }, "it reads snapshots of version [4], this one writes [2 3]", 0},
		"no snapshots":       {func(m *message) { m.Snapshots = nil }, "it reads snapshots of version []", 0},
		"clock behind":       {func(m *message) { m.Clock -= int64(time.Hour) }, "another time namespace", 0},
		"clock ahead":        {func(m *message) { m.Clock += int64(time.Hour) }, "another time namespace", 0},
	} {
		m := Hello{Version: "new", Settings: map[string]string{"shards": "4"}, Snapshots: []int{2, 3}}.hello()
		c.change(m)
		welcome, err := offer.welcome(m)
		switch {
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v, want %q", name, err, c.want)
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "" && (welcome.Snapshots[0] != c.chosen || welcome.Min != protocolMax || welcome.Max != protocolMax),
			c.want == "" && !maps.Equal(welcome.Settings, map[string]string{"shards": "4", "older": "x", "sessions": "7"}):
			t.Errorf("%s: %+v", name, welcome)
		}
	}
}
