package balancer

import (
	"sync"
	"testing"
	"time"

	"srtrelay/backend"
)

// Other settings count from the next call on.
func TestSettingsChange(t *testing.T) {
	registry := backend.NewRegistry()
	for _, id := range []backend.ID{"a", "b"} {
		if err := registry.Put(backend.Backend{ID: id}); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Unix(1e9, 0)
	m := NewMemory(registry, func() time.Time { return now })
	player := backend.Query{Key: "x"}
	first, err := m.Pick(t.Context(), player)
	if err != nil {
		t.Fatal(err)
	}
	s := m.Settings()
	s.PlayersCreate, s.Policy = false, PolicyHash
	m.Set(s)
	if got := m.Settings(); got != s {
		t.Errorf("%+v", got)
	}
	if same, err := m.Pick(t.Context(), player); err != nil || same.ID != first.ID {
		t.Errorf("the stream has moved from %s to %s: %v", first.ID, same.ID, err)
	}
	if _, err := m.Pick(t.Context(), backend.Query{Key: "y"}); err != backend.ErrNoStream {
		t.Errorf("a player has created a stream: %v", err)
	}
	_, why, err := m.Explain(backend.Query{Key: "y", Publish: true})
	if err != nil || why != "the highest hash of stream and backend" {
		t.Errorf("%q, %v", why, err)
	}
}

// Without outlier detection no backend stays ejected.
func TestOutliersOff(t *testing.T) {
	m := NewMemory(backend.NewRegistry(), time.Now)
	m.record("a").eject(m.clock(), 1, "test")
	if !m.isBarred("a", m.clock()) {
		t.Fatal("not ejected")
	}
	s := m.Settings()
	s.Outliers = false
	m.Set(s)
	if m.isBarred("a", m.clock()) || m.Ejections()["a"].Ejected {
		t.Error("still ejected")
	}
}

// Callers are placed while the settings change.
func TestSettingsRace(t *testing.T) {
	registry := backend.NewRegistry()
	if err := registry.Put(backend.Backend{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	m := NewMemory(registry, time.Now)
	var all sync.WaitGroup
	defer all.Wait()
	for range 2 {
		all.Go(func() {
			for k := range 200 {
				s := m.Settings()
				s.PlayersCreate, s.Affinity, s.Outliers = k%2 == 0, time.Duration(k)*time.Second, k%3 == 0
				m.Set(s)
			}
		})
		all.Go(func() {
			for range 200 {
				q := backend.Query{Key: "x", Publish: true}
				if to, err := m.Pick(t.Context(), q); err == nil {
					m.Report(backend.Outcome{Lease: to.Lease, Fate: backend.FateUnused})
				}
				_, _, _ = m.Explain(q)
			}
		})
	}
}
