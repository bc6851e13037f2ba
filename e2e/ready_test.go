//go:build linux

package e2e

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"srtrelay/internal/freeaddr"
	"srtrelay/internal/srttest"
)

// A relay is ready while a backend can take a stream, and not before or after.
func TestReadyWithABackend(t *testing.T) {
	t.Parallel()
	at := freeaddr.New()
	r := startRelay(t, backendAt(at))
	r.awaitReadiness(http.StatusServiceUnavailable, "no backend can take a stream: 1 down")
	startBackend(t, srttest.ListenerConfig{Mode: srttest.Echo, Local: at})
	r.awaitReadiness(http.StatusOK, `"backends_available":1`)
	if status, text := r.call(http.MethodPost, "/api/v1/backends/"+at.String()+"/drain", ""); status != http.StatusOK {
		t.Fatal(text)
	}
	r.awaitReadiness(http.StatusServiceUnavailable, "no backend can take a stream: 1 draining")
	var list struct {
		Available   int
		Unavailable string
	}
	r.get("/api/v1/backends", &list)
	if list.Available != 0 || list.Unavailable != "no backend can take a stream: 1 draining" {
		t.Errorf("%+v", list)
	}
}

// Backends that register only once the relay is ready would wait for ever.
func TestReadyWithoutBackends(t *testing.T) {
	t.Parallel()
	r := startRelay(t)
	r.awaitReadiness(http.StatusServiceUnavailable, "no backend is known")
	if status, _ := r.call(http.MethodGet, "/live", ""); status != http.StatusOK {
		t.Errorf("/live: %d", status)
	}
	r = startRelay(t, "--ready-without-backends")
	if status, text := r.readiness(); status != http.StatusOK || !strings.Contains(text, `"reason":"no backend is known"`) {
		t.Errorf("/ready: %d %s", status, text)
	}
}

// A relay has the name that it was given, or its host's.
func TestName(t *testing.T) {
	t.Parallel()
	host, err := os.Hostname()
	must(t, err)
	for want, flags := range map[string][]string{"edge 1": {"--name", "edge 1"}, host: nil} {
		var v struct{ Name string }
		startRelay(t, flags...).get("/api/v1/versions", &v)
		if v.Name != want {
			t.Errorf("%q: name %q, want %q", flags, v.Name, want)
		}
	}
}
