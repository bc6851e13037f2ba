package balancer

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"srtrelay/backend"
)

// followed is a registry of backends that were found by a name.
func followed(t *testing.T, all ...backend.Backend) (*backend.Registry, *Memory) {
	t.Helper()
	r := backend.NewRegistry()
	for _, b := range all {
		b.Addr = netip.MustParseAddrPort(string(b.ID))
		if err := r.Put(b); err != nil {
			t.Fatal(err)
		}
	}
	return r, NewMemory(r, time.Now)
}

// A backend that its name has left gets new streams only if no other can take them, and
// keeps those that it has.
func TestBackendThatItsNameHasLeft(t *testing.T) {
	r, m := followed(t, backend.Backend{ID: "10.0.0.1:1"}, backend.Backend{ID: "10.0.0.2:1", Down: true})
	pick := func(key string) (string, string) {
		t.Helper()
		q := backend.Query{Key: key, Publish: true}
		_, why, err := m.Explain(q)
		if err != nil {
			t.Fatal(err)
		}
		target, err := m.Pick(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		return string(target.ID), why
	}
	if at, _ := pick("first"); at != "10.0.0.1:1" {
		t.Fatalf("at %s", at)
	}
	left, _ := r.Snapshot().Find("10.0.0.1:1")
	left.LeftAt = time.Now()
	if err := r.Put(left); err != nil {
		t.Fatal(err)
	}
	if at, why := pick("second"); at != "10.0.0.1:1" || !strings.Contains(why, "whose name has other addresses now") {
		t.Errorf("with no other: at %s, %s", at, why)
	}
	r.MarkAlive("10.0.0.2:1", 0, time.Now())
	if at, why := pick("third"); at != "10.0.0.2:1" {
		t.Errorf("with another: at %s, %s", at, why)
	}
	if at, why := pick("first"); at != "10.0.0.1:1" {
		t.Errorf("a player of a stream that is there: at %s, %s", at, why)
	}
	if !m.InUse("10.0.0.1:1") || m.InUse("10.0.0.9:1") {
		t.Error("the sessions are not counted")
	}
}

// Backups step in, in their order, when all before them cannot take a stream.
func TestBackups(t *testing.T) {
	r, m := followed(t, backend.Backend{ID: "10.0.0.1:1"}, backend.Backend{ID: "10.0.0.2:1", Backup: 1}, backend.Backend{ID: "10.0.0.3:1", Backup: 2})
	for _, want := range []string{"10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"} {
		target, why, err := m.Explain(backend.Query{Key: "a"})
		if err != nil || string(target.ID) != want || strings.Contains(why, "backup") == (want == "10.0.0.1:1") {
			t.Errorf("%s, %s, %v, want %s", target.ID, why, err, want)
		}
		r.MarkDown(target.ID)
	}
}
