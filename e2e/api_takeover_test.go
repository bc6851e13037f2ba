//go:build linux

package e2e

import (
	"net/http"
	"path/filepath"
	"sync"
	"testing"
)

// Whoever asks for liveness or metrics while a relay is upgraded is answered: the new process has
// the socket of the API's port, and connections wait in it. Each request has a connection of its
// own.
func TestAPIAnswersAcrossTakeOver(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "takeover.sock")
	args := []string{"--shards=2", backendAt(startEcho(t).Addr())}
	r := startRelay(t, append(args, "--takeover-socket", socket)...)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	stop := make(chan struct{})
	var askers sync.WaitGroup
	for _, path := range []string{"/live", "/metrics"} {
		askers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					t.Logf("%s: answered %d times", path, n)
					return
				default:
				}
				res, err := client.Get(r.api + path)
				if err != nil {
					t.Errorf("%s: %v", path, err)
					return
				}
				_ = res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Errorf("%s: %s", path, res.Status)
				}
			}
		})
	}
	next := r.successor(socket, args...)
	close(stop)
	askers.Wait()
	if next.api != r.api {
		t.Errorf("the API has moved from %s to %s", r.api, next.api)
	}
}
