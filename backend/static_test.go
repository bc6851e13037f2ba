package backend

import (
	"strings"
	"testing"
)

func TestAddStatic(t *testing.T) {
	r := NewRegistry()
	if err := r.AddStatic([]string{"a.test:10080", "10.0.0.1:1", "[::1]:65535"}, noon); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[ID]string{
		"a.test:10080": "invalid AddrPort", "10.0.0.1:1": "10.0.0.1:1", "[::1]:65535": "[::1]:65535",
	} {
		b := find(t, r, id)
		if b.Addr.String() != want || !b.Down || b.Source != SourceStatic || b.Host != string(id) || b.Added != noon {
			t.Errorf("%+v, want address %s, down", b, want)
		}
		if b.Addr.IsValid() != (b.Problem == "") {
			t.Errorf("%s: %q", id, b.Problem)
		}
	}
}

func TestAddStaticRefuses(t *testing.T) {
	for host, want := range map[string]string{
		"10.0.0.1": "missing port", "10.0.0.1:65536": "bad port", "10.0.0.1:srt": "bad port", "a.test:0": "bad port",
		"224.0.0.1:1": "not the address of one host", "0.0.0.0:1": "not the address of one host",
	} {
		r := NewRegistry()
		err := r.AddStatic([]string{host}, noon)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), host) {
			t.Errorf("%s: %v, want %q", host, err, want)
		}
		if len(r.Snapshot().Backends) != 0 {
			t.Errorf("%s: there is a backend", host)
		}
	}
}
