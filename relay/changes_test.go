package relay

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"srtrelay/api/answer"
	"srtrelay/backend"
	"srtrelay/balancer"
)

func TestBackendChanges(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	one := backend.Backend{
		ID: "a", Source: backend.SourceRegistered, Addr: netip.MustParseAddrPort("10.0.0.1:1"), Weight: 1, Expires: at.Add(10 * time.Second),
	}
	with := func(change func(*backend.Backend)) []backend.Backend {
		b := one
		change(&b)
		return []backend.Backend{b}
	}
	same := []backend.Backend{one}
	for name, c := range map[string]struct {
		before, after []backend.Backend
		later         time.Duration
		want          string // kind, backend, cause
	}{
		"nothing":   {same, same, time.Second, ""},
		"came":      {nil, same, 0, "backend-registered a registered"},
		"went":      {same, nil, 0, "backend-removed a registered"},
		"fell":      {same, with(func(b *backend.Backend) { b.Down = true }), 0, "backend-changed a down"},
		"back":      {with(func(b *backend.Backend) { b.Down = true }), same, 0, "backend-changed a answers"},
		"doubted":   {same, with(func(b *backend.Backend) { b.Suspect = true }), 0, "backend-changed a in doubt"},
		"cleared":   {with(func(b *backend.Backend) { b.Suspect = true }), same, 0, ""},
		"drained":   {same, with(func(b *backend.Backend) { b.Draining = true }), 0, "backend-changed a draining"},
		"undrained": {with(func(b *backend.Backend) { b.Draining = true }), same, 0, "backend-changed a draining no more"},
		"drained elsewhere": {
			same, with(func(b *backend.Backend) { b.Drain(true, "edge-2") }), 0,
			"backend-changed a draining, ordered at relay edge-2",
		},
		"ordered weight": {
			same, with(func(b *backend.Backend) { b.Weigh(4, "edge-2") }), 0,
			"backend-changed a weight 4, ordered at relay edge-2",
		},
		// The author of the later order was named for both.
		"two orders of two relays": {
			same, with(func(b *backend.Backend) { b.Drain(true, "edge-2"); b.Weigh(4, "edge-3") }), 0,
			"backend-changed a draining, ordered at relay edge-2, weight 4, ordered at relay edge-3",
		},
		"one here and one elsewhere": {
			same, with(func(b *backend.Backend) { b.Drain(true, "edge-2"); b.Weigh(4, "") }), 0,
			"backend-changed a draining, ordered at relay edge-2, weight 4",
		},
		"configured weight below an ordered one": {
			with(func(b *backend.Backend) { b.OrderedWeight = 4 }), with(func(b *backend.Backend) { b.OrderedWeight, b.Weight = 4, 2 }), 0, "",
		},
		"late": {same, same, 11 * time.Second, "backend-changed a heartbeat late"},
		"in time": {
			with(func(b *backend.Backend) { b.Expires = at.Add(-1) }), same, 0, "backend-changed a heartbeat again",
		},
		"answered": {same, with(func(b *backend.Backend) { b.Answered, b.KeyLen = at, 2 }), 0, ""},
		"several": {
			same, with(func(b *backend.Backend) {
				b.Addr, b.Weight, b.Draining = netip.MustParseAddrPort("10.0.0.2:1"), 3, true
			}), 0, "backend-changed a draining, moved from 10.0.0.1:1, weight 3",
		},
	} {
		var got string
		for _, e := range changes(&backend.Snapshot{Backends: c.before}, &backend.Snapshot{Backends: c.after}, at, at.Add(c.later)) {
			got += e.Kind + " " + e.Backend + " " + e.Cause
			if !e.Time.Equal(at.Add(c.later)) || e.Address == "" {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

// Backends that were there before make no event, and a change makes one.
func TestChangesAreToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := backend.NewRegistry()
		r.Put(backend.Backend{ID: "static", Source: backend.SourceStatic})
		var kinds []string
		ctx, end := context.WithCancel(t.Context())
		defer end()
		f := &changeFollower{
			registry: r, ejected: balancer.NewMemory(r, time.Now).Ejections, log: slog.New(slog.DiscardHandler),
			publish: func(e answer.Event) { kinds = append(kinds, e.Kind+" "+e.Backend) },
		}
		flush := make(chan chan struct{})
		go f.run(ctx, flush)
		synctest.Wait()
		time.Sleep(time.Second)
		r.Put(backend.Backend{ID: "new", Source: backend.SourceRegistered})
		time.Sleep(time.Second)
		r.SetDraining("static", true)
		time.Sleep(time.Second)
		r.Remove("new")
		time.Sleep(time.Second)
		r.SetDraining("static", false)
		done := make(chan struct{})
		flush <- done // at once, before a take-over
		<-done
		if want := []string{"backend-registered new", "backend-changed static", "backend-removed new", "backend-changed static"}; !slices.Equal(kinds, want) {
			t.Errorf("%q, want %q", kinds, want)
		}
	})
}

func TestEjectionsAreTold(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	snap := &backend.Snapshot{Backends: []backend.Backend{{ID: "a", Addr: netip.MustParseAddrPort("10.0.0.1:1")}}}
	of := func(e balancer.Ejection) ejections { return ejections{"a": e} }
	never, out := ejections{}, balancer.Ejection{Ejected: true, Times: 1, Why: "3 of 3 new streams failed"}
	trying, over := balancer.Ejection{Ejected: true, Returning: true, Times: 1}, balancer.Ejection{Times: 1}
	for name, c := range map[string]struct {
		before, after ejections
		want          string
	}{
		"nothing":    {never, never, ""},
		"ejected":    {never, of(out), "ejected: 3 of 3 new streams failed"},
		"still":      {of(out), of(out), ""},
		"tried":      {of(out), of(trying), "returns from ejection"},
		"failed":     {of(trying), of(balancer.Ejection{Ejected: true, Times: 2, Why: "again"}), "ejected: again"},
		"proven":     {of(trying), of(over), "ejected no more"},
		"taken back": {of(out), of(over), "ejected no more"},
		"quick":      {never, of(over), ""},
	} {
		var got string
		for _, e := range ejectionChanges(c.before, c.after, snap, at) {
			got += e.Cause
			if e.Kind != "backend-changed" || e.Backend != "a" || e.Address != "10.0.0.1:1" || !e.Time.Equal(at) {
				t.Errorf("%s: %+v", name, e)
			}
		}
		if got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
