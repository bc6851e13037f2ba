//go:build linux

package e2e

import (
	"io"
	"net/http"
	"net/url"
	"syscall"
	"testing"
)

// The process is stopped for ten seconds under 200 sessions. They flow on, and when it
// goes on it ends none of them, though that was longer than what it takes for silence.
func TestKernelPathCarriesAStoppedRelay(t *testing.T) {
	t.Parallel()
	const sessions, perSecond, seconds = 200, 20, 10
	k := openKernelLab(t)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := k.relay(backendAt(l.Addr()), "--idle-timeout=3s", "--backend-silence=3s")
	flows := dialFlows(t, k.port(callers4), r, sessions, sessions*perSecond)
	runAll(flows)
	awaitInKernel(r, flows)
	r.signal(syscall.SIGSTOP)
	awaitSent(flows, perSecond*seconds) // at the pace of the flows
	r.signal(syscall.SIGCONT)
	awaitSent(flows, perSecond)
	stopAll(flows)
	checkAll(flows, l)
	st := r.settled(sent(flows))
	if st["sessions"] != sessions || seen.bad.Load() != 0 {
		t.Errorf("%d sessions of %d left, %d payloads changed", st["sessions"], sessions, seen.bad.Load())
	}
	if ended := r.log("session ended"); len(ended) != 0 {
		t.Errorf("%d sessions ended, such as %v", len(ended), ended[0])
	}
}

// Captures take sessions of 10,000 packets/s out of the path and put them back, a
// thousand times. No datagram is lost or overtaken.
func TestKernelPathEnteredAndLeft(t *testing.T) {
	t.Parallel()
	const sessions, rounds = 10, 100
	rate := 10_000
	if raced {
		rate = 3000 // in user space too
	}
	k := openKernelLab(t)
	var seen payloads
	l := k.backend(k.Origin, loopback.Addr(), &seen)
	r := k.relay(backendAt(l.Addr()))
	flows := dialFlows(t, k.port(callers4), r, sessions, rate)
	runAll(flows)
	awaitInKernel(r, flows)
	for range rounds {
		handovers := r.stats()["kernel_path_handovers"]
		stop := r.captureHeads(flows)
		r.await("all sessions in user space", func(st stats) bool { return st["kernel_path_sessions"] == 0 })
		stop()
		r.await("both ways of all sessions in the kernel", func(st stats) bool {
			return st["kernel_path_sessions"] == sessions && st["kernel_path_handovers"] >= handovers+2*sessions
		})
	}
	stopAll(flows)
	checkAll(flows, l)
	if seen.bad.Load() != 0 {
		t.Errorf("%d payloads came changed to the backend", seen.bad.Load())
	}
	st := r.settled(sent(flows))
	t.Logf("%d datagrams each way, %d and %d of them in the kernel, %d handovers",
		sent(flows), st["kernel_path_to_backend"], st["kernel_path_to_caller"], st["kernel_path_handovers"])
}

// captureHeads captures the heads of the flows' datagrams, and forgets them, until stop.
func (r *relay) captureHeads(flows []*numberedFlow) (stop func()) {
	r.t.Helper()
	query := make(url.Values)
	for i := range flows {
		query.Add("stream", streamOf(i))
	}
	client := r.client()
	client.Timeout = 0 // it lasts as long as the capture
	response, err := client.Get(r.api + "/api/v1/capture?" + query.Encode())
	must(r.t, err)
	if response.StatusCode != http.StatusOK {
		r.t.Fatalf("capture: %s", response.Status)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		_, _ = io.Copy(io.Discard, response.Body) // until it is closed
	}()
	return func() {
		_ = response.Body.Close()
		<-read
	}
}
